"""Plugins by name, through Python entry points: the built-ins by the same door as anybody's.

Listing reads names and docstrings without importing a plugin, so it is quick and a
broken plugin cannot take the others down; loading imports just the one asked for.
"""

from __future__ import annotations

import ast
import importlib.util
import tomllib
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bioplaus.errors import PluginError, UnknownNameError

GROUPS = {
    "rule": "bioplaus.rules",
    "dataset": "bioplaus.datasets",
    "report": "bioplaus.reports",
    "task": "bioplaus.tasks",
    "logger": "bioplaus.loggers",
    "executor": "bioplaus.executors",
}


@dataclass(frozen=True)
class Plugin:
    """One entry point: what is known of a plugin before it is imported."""

    kind: str
    name: str
    target: str
    source: str
    """The distribution it comes from, with its version; or the file."""
    checksum: str | None = None
    """Of a file's content, SHA-256; None for what is installed and has a version."""

    def load(self) -> Any:
        """The object it names; PluginError where importing it fails, for any reason."""
        entry = EntryPoint(self.name, self.target, GROUPS[self.kind])
        try:
            loaded = entry.load()
        except Exception as error:  # a stranger's module may raise anything
            raise PluginError(
                f"the {self.kind} {self.name!r} from {self.source} does not load: "
                f"{type(error).__name__}: {error} (in {self.target})"
            ) from error
        if getattr(loaded, "name", None) != self.name:
            raise PluginError(
                f"the {self.kind} {self.name!r} from {self.source}: {self.target} "
                f"calls itself {getattr(loaded, 'name', None)!r}; the names must be equal"
            )
        return loaded

    def origin(self) -> dict[str, str | None]:
        """Where it comes from, with the checksum of its module's file: for a provenance."""
        return {
            "source": self.source,
            "target": self.target,
            "sha256": self.checksum or _file_checksum(self.target.partition(":")[0]),
        }

    def summary(self) -> str:
        """First line of the class's docstring, or the module's, read without importing."""
        module, _, attribute = self.target.partition(":")
        try:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                return f"(broken: no module {module})"
            tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        except (ImportError, ValueError, SyntaxError, OSError) as error:
            return f"(broken: {type(error).__name__}: {error})"
        named = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == attribute]
        doc = (ast.get_docstring(named[0]) if named else None) or ast.get_docstring(tree) or ""
        return doc.partition("\n")[0]


_FROM_FILES: dict[str, dict[str, Plugin]] = {}
"""What this process took from files, by kind."""


def plugins(kind: str) -> dict[str, Plugin]:
    """All plugins of a kind, sorted by name; two of one name are an error."""
    return dict(sorted({**_installed(kind), **_FROM_FILES.get(kind, {})}.items()))


def add(plugin: Plugin) -> None:
    """Register a plugin for this process alone; PluginError where its name is taken."""
    installed = _installed(plugin.kind).get(plugin.name)
    if installed:
        raise PluginError(
            f"{plugin.source} calls its {plugin.kind} {plugin.name!r}, which is the name of one "
            f"from {installed.source}: choose another name"
        )
    _FROM_FILES.setdefault(plugin.kind, {})[plugin.name] = plugin


def from_files(kind: str) -> list[Plugin]:
    """What this process took from files."""
    return list(_FROM_FILES.get(kind, {}).values())


@cache
def _installed(kind: str) -> dict[str, Plugin]:
    found: dict[str, Plugin] = {}
    for entry in sorted(set(entry_points(group=GROUPS[kind])), key=lambda e: (e.name, e.value)):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        plugin = Plugin(kind, entry.name, entry.value, source)
        if entry.name in found and found[entry.name].target != plugin.target:
            raise PluginError(
                f"two plugins are called {entry.name!r} ({kind}): {found[entry.name].target} "
                f"from {found[entry.name].source} and {plugin.target} from {source}; "
                "uninstall one of them"
            )
        found[entry.name] = plugin
    return found


def names(kind: str) -> list[str]:
    """Names of all plugins of a kind, sorted."""
    return list(plugins(kind))


def load(kind: str, name: str) -> Any:
    """The plugin of that name, imported.

    Raises UnknownNameError with the closest names, PluginError where it is broken.
    """
    return find(kind, name).load()


def find(kind: str, name: str) -> Plugin:
    """The plugin of that name, not imported; UnknownNameError with the closest names."""
    known = plugins(kind)
    if name not in known:
        raise UnknownNameError(kind, name, known, _reinstall_hint(kind, name))
    return known[name]


def _file_checksum(module: str) -> str | None:
    """SHA-256 of a module's source; None where there is no file to read."""
    try:
        spec = importlib.util.find_spec(module)
        return sha256(Path(spec.origin).read_bytes()).hexdigest() if spec and spec.origin else None
    except (ImportError, ValueError, OSError):
        return None


def _reinstall_hint(kind: str, name: str) -> str:
    """What to do where a checkout's pyproject declares the name, but the installation does not."""
    pyproject = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return ""
    if name in project.get("entry-points", {}).get(GROUPS[kind], {}):
        return "; pyproject.toml declares it: install the project again (pip install -e .)"
    return ""
