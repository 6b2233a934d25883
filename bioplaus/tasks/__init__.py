"""The tasks there are: the built-in ones, one TOML file each, and those that plugins bring.

A plugin's entry point in the group `bioplaus.tasks` names a package that holds NAME.toml.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from bioplaus.errors import ConfigError, PluginError
from bioplaus.plugins import registry
from bioplaus.system.toml_files import parse_toml

DEFAULT = "digits-square"


def names() -> list[str]:
    """All tasks, the default first, then by name."""
    found = sorted({*_built_in(), *registry.names("task")})
    return sorted(found, key=lambda name: name != DEFAULT)


def text(name: str) -> str:
    """The file of a task; PluginError where a plugin's is missing."""
    if name in _built_in():
        return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
    plugin = registry.find("task", name)
    try:
        file: Traversable = resources.files(plugin.target) / f"{name}.toml"
        return file.read_text(encoding="utf-8")
    except (ImportError, OSError, UnicodeDecodeError) as error:
        raise PluginError(
            f"the task {name!r} from {plugin.source} does not load: {plugin.target} holds no "
            f"readable {name}.toml ({type(error).__name__}: {error})"
        ) from None


def description(name: str) -> str:
    """Its one line; of a broken plugin, what is wrong."""
    try:
        return str(parse_toml(text(name), f"{name}.toml").get("description", ""))
    except (PluginError, ConfigError) as error:
        return f"(broken: {error})"


def source(name: str) -> str:
    """Where it comes from."""
    return "built-in" if name in _built_in() else registry.find("task", name).source


@cache
def _built_in() -> tuple[str, ...]:
    files = (file.name for file in resources.files(__name__).iterdir())
    return tuple(name.removesuffix(".toml") for name in files if name.endswith(".toml"))
