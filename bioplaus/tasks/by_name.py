"""Tasks by name: built-in files beside this one, and those of plugins."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from bioplaus.errors import ConfigError, PluginError, shown
from bioplaus.plugins import registry
from bioplaus.system.blame import described
from bioplaus.system.toml_files import decoded, parse_toml

# a rule without a task gets the first of these that it supports: plain chains, before all others
DEFAULTS = (
    "digits-square",
    "digits-relu",
    "digits-equilibrium",
    "digits-sigmoid",
    "digits-spiking",
)
DEFAULT = DEFAULTS[0]


def names() -> list[str]:
    """All tasks, the default ones first, then by name."""
    return [*DEFAULTS, *sorted({*_built_in(), *registry.names("task")} - {*DEFAULTS})]


def text(name: str) -> str:
    """The file of a task; PluginError where a plugin's is missing."""
    if name in _built_in():
        return (resources.files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    plugin = registry.find("task", name)
    if plugin.problem is not None:
        raise PluginError(plugin.problem)
    try:
        file: Traversable = resources.files(plugin.target) / f"{name}.toml"
        return decoded(file.read_bytes())
    except (Exception, SystemExit) as error:  # finding the file imports a stranger's package
        raise PluginError(
            f"{plugin.title} does not load: {plugin.target} holds no readable {name}.toml "
            f"({described(error)})"
        ) from None


def table(name: str) -> dict[str, Any]:
    """What the file of a task holds; PluginError where a plugin's is no TOML, or another's."""
    if name in _built_in():
        return parse_toml(text(name), name)
    title = registry.find("task", name).title
    try:
        found = parse_toml(text(name), f"{name}.toml")
    except ConfigError as error:
        raise PluginError(f"{title}: {error}") from None
    if found.get("name") != name:
        raise PluginError(
            f"{title}: the file {name}.toml calls its task {shown(repr(found.get('name')), 60)}; "
            "the names must be equal"
        )
    return found


def description(name: str) -> str:
    """Its one line; of a broken plugin, what is wrong."""
    try:
        return str(table(name).get("description", ""))
    except PluginError as error:
        return f"(broken: {error})"


def problems() -> list[str]:
    """Tasks of plugins that nobody can ask for: the built-in ones of their name are used."""
    return [
        f"{plugin.source} has a task {name!r}, which is the name of a built-in one: it is not "
        "used; uninstall it, or let its author choose another name"
        for name, plugin in registry.plugins("task").items()
        if name in _built_in()
    ]


def source(name: str) -> str:
    """Where it comes from."""
    return "built-in" if name in _built_in() else registry.find("task", name).source


@cache
def _built_in() -> tuple[str, ...]:
    files = (file.name for file in resources.files(__package__).iterdir())
    return tuple(name.removesuffix(".toml") for name in files if name.endswith(".toml"))
