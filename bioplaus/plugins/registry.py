"""Plugins by name, through Python entry points: the built-ins by the same door as anybody's.

Listing reads names and docstrings without importing a plugin, so it is quick and a
broken plugin cannot take the others down; loading imports just the one asked for. One that
cannot be used, for its name say, is listed with what is wrong with it, and raises that when
it is loaded.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bioplaus.errors import PluginError, UnknownNameError, near_to, shown
from bioplaus.plugins import names as naming
from bioplaus.plugins.old_imports import hint
from bioplaus.system.blame import described
from bioplaus.system.shell import quoted

GROUPS = {
    "rule": "bioplaus.rules",
    "dataset": "bioplaus.datasets",
    "report": "bioplaus.reports",
    "task": "bioplaus.tasks",
    "logger": "bioplaus.loggers",
    "executor": "bioplaus.executors",
    "axis": "bioplaus.axes",
    "layer": "bioplaus.layers",
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
    problem: str | None = None
    """Why it cannot be used, where that is known before it is imported."""

    @property
    def title(self) -> str:
        """`the rule 'mine' from stranger 1.0`."""
        return f"the {self.kind} {shown(repr(self.name), 60)} from {self.source}"

    def load(self) -> Any:
        """The object it names; PluginError where importing it fails, for any reason."""
        if self.problem is not None:
            raise PluginError(self.problem)
        module = self.target.partition(":")[0]
        _note_source(module)
        entry = EntryPoint(self.name, self.target, GROUPS[self.kind])
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise PluginError(
                f"{self.title} does not load: {described(error)} (in {self.target})"
                f"{hint(error, _source_of(module))}"
            ) from error
        if getattr(loaded, "name", None) != self.name:
            raise PluginError(
                f"{self.title}: {self.target} calls itself "
                f"{shown(repr(getattr(loaded, 'name', None)), 60)}; the names must be equal"
            )
        return loaded

    def origin(self) -> dict[str, str | None]:
        """Where it comes from, with the checksum of its module's file: for a provenance."""
        return {
            "source": self.source,
            "target": self.target,
            "sha256": self.checksum or _note_source(self.target.partition(":")[0]),
        }

    def summary(self) -> str:
        """First line of the class's docstring, or the module's, read without importing."""
        if self.problem is not None:
            return f"(broken: {self.problem})"
        module, _, attribute = self.target.partition(":")
        try:
            source = _source_of(module)
            if source is None:
                return f"(broken: no module {module})"
            tree = ast.parse(source)
        except (Exception, SystemExit) as error:  # finding a module imports its packages
            return f"(broken: {described(error)})"
        named = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == attribute]
        doc = (ast.get_docstring(named[0]) if named else None) or ast.get_docstring(tree) or ""
        return doc.partition("\n")[0]


_FROM_FILES: dict[str, dict[str, Plugin]] = {}
"""What this process took from files, by kind."""


def plugins(kind: str) -> dict[str, Plugin]:
    """All plugins of a kind, sorted by name; those that cannot be used have a `problem`."""
    return dict(sorted({**_installed(kind)[0], **_FROM_FILES.get(kind, {})}.items()))


def add(plugin: Plugin) -> None:
    """Register a plugin for this process alone.

    PluginError where its name is none, or is taken by another file or by what is installed.
    """
    if wrong := naming.fault(plugin.kind, plugin.name):
        raise PluginError(f"{plugin.source}: {wrong}")
    files = _FROM_FILES.setdefault(plugin.kind, {})
    for other in {**_installed(plugin.kind)[0], **files}.values():
        same_file = other.checksum is not None and other.checksum == plugin.checksum
        if other.name.lower() != plugin.name.lower() or same_file or other.problem:
            continue
        if other.name in files and other.source == plugin.source:
            continue  # the same file, edited meanwhile
        line = (
            f"{plugin.source} calls its {plugin.kind} {plugin.name!r}, which is the name of one "
            f"from {other.source}{_by_case(plugin.name, other.name)}: choose another name"
        )
        if other.name in files:  # of two files neither is the one that is meant
            files[other.name] = replace(other, problem=line)
        raise PluginError(line)
    files[plugin.name] = plugin


def add_broken(plugin: Plugin, problem: str) -> None:
    """Remember one that cannot be used, so that whoever names it is told why.

    Nothing happens where the name is taken, or could not be anybody's.
    """
    files = _FROM_FILES.setdefault(plugin.kind, {})
    if plugin.name and plugin.name not in plugins(plugin.kind):
        files[plugin.name] = replace(plugin, problem=problem)


def from_files(kind: str) -> list[Plugin]:
    """What this process took from files."""
    return list(_FROM_FILES.get(kind, {}).values())


def problems() -> list[str]:
    """What is wrong with the names of installed plugins, one line each; imports none of them."""
    return [line for kind in GROUPS for line in _installed(kind)[1]]


@cache
def _installed(kind: str) -> tuple[dict[str, Plugin], list[str]]:
    """Plugins by name, and a line on each that has no name of its own.

    A name that bioplaus has stays bioplaus's; one that two others have is nobody's.
    """
    found: dict[str, Plugin] = {}
    lines = []
    for plugin in _entries(kind):
        if wrong := naming.fault(kind, plugin.name):
            lines.append(f"{plugin.source} has a {kind} that cannot be used: {wrong}")
            found[plugin.name] = replace(plugin, problem=lines[-1])
            continue
        other = next((p for n, p in found.items() if n.lower() == plugin.name.lower()), None)
        if other is None or other.target == plugin.target:
            found.setdefault(plugin.name, plugin)
        elif other.problem is None and _is_ours(other):
            lines.append(
                f"{plugin.source} has a {kind} {plugin.name!r}, which is the name of one from "
                f"{other.source}{_by_case(plugin.name, other.name)}: it is not used; uninstall "
                "it, or let its author choose another name"
            )
        else:
            line = (
                f"two plugins are called {plugin.name!r} ({kind}): {other.target} from "
                f"{other.source} and {plugin.target} from {plugin.source}"
                f"{_by_case(plugin.name, other.name)}; uninstall one of them"
            )
            lines.append(line)
            found[other.name] = replace(other, problem=line)
            found[plugin.name] = replace(plugin, problem=line)
    return found, lines


def _entries(kind: str) -> list[Plugin]:
    """What is installed, bioplaus's own first."""
    found = []
    sources: dict[int, str] = {}  # each look at a name or version reads the metadata anew
    for entry in set(entry_points(group=GROUPS[kind])):
        dist = entry.dist
        if dist is not None and id(dist) not in sources:
            sources[id(dist)] = f"{dist.name} {dist.version}"
        source = sources[id(dist)] if dist is not None else "unknown"
        found.append(Plugin(kind, entry.name, entry.value, source))
    return sorted(found, key=lambda p: (not _is_ours(p), p.name, p.target))


def _is_ours(plugin: Plugin) -> bool:
    return plugin.source.partition(" ")[0] == "bioplaus"


def _by_case(name: str, other: str) -> str:
    return "" if name == other else f" ({other!r}; Windows does not tell them apart)"


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
        raise UnknownNameError(kind, name, known, not_installed(kind, name, known))
    return known[name]


_NOTED: dict[str, str | None] = {}
"""Module -> SHA-256 of its source when this process first looked at it."""


def _note_source(module: str) -> str | None:
    """SHA-256 of a module's source as it was when it was first asked for, before its import.

    What runs in this process is that, whatever becomes of the file. None where there is no
    file to read.
    """
    if module not in _NOTED:
        try:
            source = _source_of(module)
        except (Exception, SystemExit):  # finding a module imports its packages
            source = None
        _NOTED[module] = None if source is None else sha256(source).hexdigest()
    return _NOTED[module]


def _source_of(module: str) -> bytes | None:
    """A module's file; None where there is none, or it cannot be read."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    try:
        return Path(spec.origin).read_bytes()
    except OSError:
        return None


def not_installed(kind: str, name: str, known: Iterable[str]) -> str:
    """What to do where there is no plugin of that name, and no name is near to it.

    Where a pyproject.toml at hand declares it, the installation that lacks it is named.
    """
    checkout = Path(__file__).resolve().parents[2]
    here = Path(name) if naming.fault(kind, name) is None else Path()
    for folder in (checkout, Path(), here):
        if name in _declared(folder, kind):
            place = folder if folder == here != Path() else "."
            way = "again " if folder == checkout else ""
            return (
                f"; {shown(folder / 'pyproject.toml')} declares it: install the project {way}"
                f"({quoted('pip', 'install', '-e', place)})"
            )
    parts = [part for part in re.split(r"[,\s]+", name) if part]
    if len(parts) > 1 and {*parts} <= {*known}:
        return f"; give each by itself: {quoted(*(w for p in parts for w in (f'--{kind}', p)))}"
    if kind == "rule" and name.endswith(".py"):
        return f"; a file is given by {quoted('--plugin', name)}"
    if near_to(name, known):
        return ""
    given = {"rule": "given by --plugin FILE, or ", "task": "given as FILE.toml, or "}
    return f"; one of your own is {given.get(kind, '')}installed: `pip install -e .` in its package"


def _declared(folder: Path, kind: str) -> list[str]:
    """The names of plugins that a project's pyproject.toml declares."""
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        project: Any = tomllib.loads(text)["project"]
        return list(project.get("entry-points", {}).get(GROUPS[kind], {}))
    except (OSError, KeyError, ValueError, AttributeError, TypeError):
        return []
