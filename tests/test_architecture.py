"""The house: which package may import which, no circles, and a core that names no plugin."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bioplaus.plugins import registry

REPOSITORY = Path(__file__).parents[1]
FOLDERS = {
    "bioplaus": "bioplaus",
    "rules": "bioplaus.rules",
    "datasets": "bioplaus.datasets",
    "reports/loggers": "bioplaus.loggers",
    "reports": "bioplaus.reports",
}
"""Where the sources of a package lie, the first that fits."""

LADDER = (
    "errors", "system", "numerics", "network", "learning", "plugins", "tasks", "records",
    "experiments", "training", "running", "axes", "benchmark", "cli",
)  # fmt: skip
"""Packages of the core, each of which may import those before it."""


def _up_to(name: str) -> frozenset[str]:
    return frozenset(LADDER[: LADDER.index(name) + 1])


ALLOWED: dict[str, frozenset[str]] = {
    **{name: _up_to(name) for name in LADDER},
    "analysis": frozenset({"errors", "records", "analysis"}),
    "own_model": _up_to("plugins") | {"own_model"},
    "speed": _up_to("training") | {"speed"},
    "testing": _up_to("training") | {"testing"},
    "nn": frozenset({"network"}),
    "scaffold": frozenset({"errors", "plugins", "tasks"}),
    "api": _up_to("benchmark") | {"analysis", "api"},
    "tasks": _up_to("tasks"),
    "suites": frozenset({"errors"}),
    "templates": frozenset(),
    "rules": frozenset({"errors", "numerics", "network", "learning", "plugins", "rules"}),
    "datasets": frozenset({"errors", "numerics", "tasks", "datasets"}),
    "reports": frozenset({"errors", "records", "analysis", "learning.profile", "reports"}),
    "loggers": frozenset({"errors", "records", "experiments", "running", "loggers"}),
}
"""Of bioplaus, what a package may import; "package.module" allows that module alone."""
ALLOWED["benchmark"] |= {"suites"}
ALLOWED["cli"] |= {"analysis", "speed", "testing", "suites", "scaffold", "api", "own_model"}
ALLOWED["own_model"] |= {"nn"}
PLUGINS = frozenset({"rules", "datasets", "reports", "loggers"})
ALLOWED[""] = frozenset(ALLOWED) - PLUGINS  # bioplaus itself

MAY_NAME = {
    ("bioplaus.plugins.defaults", "gaitprop"),
    ("bioplaus.plugins.defaults", "backprop"),
    ("bioplaus.testing.numbers", "digits"),  # a check
    ("bioplaus.testing.networks", "teacher"),  # a stream
}


class Import(NamedTuple):
    """One import of one file: of the module that holds it and of the one it names."""

    file: Path
    line: int
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported}"


def module_of(file: Path) -> str:
    """The dotted name of the module in a file, given relative to the repository."""
    folder, package = next(entry for entry in FOLDERS.items() if file.is_relative_to(entry[0]))
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


def sources(root: Path) -> dict[str, Path]:
    """Every module of the project and its file, relative to the repository."""
    found: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        for path in sorted((root / folder).rglob("*.py")):
            file = path.relative_to(root)
            found[module_of(file)] = file
    return found


def imports(root: Path) -> Iterator[Import]:
    """Of bioplaus, those of every file; inside functions and TYPE_CHECKING blocks too."""
    modules = sources(root)
    for importer, file in modules.items():
        inside = importer if file.name == "__init__.py" else importer.rpartition(".")[0]
        for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = inside.split(".")
                    parts = parts[: len(parts) + 1 - node.level]
                    base = ".".join([*parts, *([base] if base else [])])
                named = [
                    f"{base}.{a.name}" if f"{base}.{a.name}" in modules else base
                    for a in node.names
                ]
            for name in dict.fromkeys(named):
                if name.partition(".")[0] == "bioplaus":
                    yield Import(file, node.lineno, importer, name)


def package_of(module: str) -> str:
    """ "training" of "bioplaus.training.stepper"; "" of bioplaus itself."""
    return [*module.split("."), ""][1].removeprefix("__main__")


def broken_layers(root: Path) -> list[str]:
    """Each import that the dict above does not allow, and each package it does not list."""
    found = []
    for entry in imports(root):
        package, other = package_of(entry.importer), package_of(entry.imported)
        if package not in ALLOWED:
            found.append(f"{entry.file}: the package {package!r} is not listed in ALLOWED")
            continue
        inner = ".".join(entry.imported.split(".")[1:3])
        if other not in ALLOWED[package] and inner not in ALLOWED[package]:
            found.append(f"{entry}, which {package or 'bioplaus'} may not")
    return list(dict.fromkeys(found))


def circles(root: Path) -> list[str]:
    """Each way from a module back to itself, over modules that import one another."""
    graph: dict[str, dict[str, Import]] = {}
    for entry in imports(root):
        if entry.importer != "bioplaus" and entry.importer != entry.imported:
            graph.setdefault(entry.importer, {})[entry.imported] = entry
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            way = path[path.index(module) :]
            steps = [graph[a][b] for a, b in zip(way, [*way[1:], module], strict=True)]
            found.append("; ".join(map(str, steps)))
            return
        if module in done:
            return
        for other in graph.get(module, {}):
            visit(other, [*path, module])
        done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def named_plugins(root: Path) -> list[str]:
    """Each place where the core says a rule's or dataset's name."""
    names = {name for kind in ("rule", "dataset") for name in registry.plugins(kind)}
    found = []
    for module, file in sources(root).items():
        if package_of(module) in PLUGINS:
            continue
        for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Constant) or node.value not in names:
                continue
            if (module, node.value) not in MAY_NAME:
                found.append(f"{file}:{node.lineno}: {module} names {node.value!r}")
    return found


def test_every_package_imports_only_what_it_may() -> None:
    assert broken_layers(REPOSITORY) == []


def test_no_circles() -> None:
    assert circles(REPOSITORY) == []


def test_the_core_names_no_plugin() -> None:
    assert named_plugins(REPOSITORY) == []


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A small house of the same shape."""
    for folder in ("bioplaus/system", "bioplaus/training", "rules", "datasets", "reports/loggers"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_an_upward_import_is_found(planted: Path) -> None:
    low = planted / "bioplaus/system/low.py"
    low.write_text("def f():\n    from bioplaus.training import trainer\n")
    (planted / "bioplaus/training/trainer.py").write_text("")
    (message,) = broken_layers(planted)
    for part in ("bioplaus/system/low.py:2", "bioplaus.system.low", "bioplaus.training.trainer"):
        assert part in message


def test_an_import_for_types_alone_is_found_too(planted: Path) -> None:
    (planted / "rules/mine.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import bioplaus.training.trainer\n"
    )
    (message,) = broken_layers(planted)
    assert "rules/mine.py:3: bioplaus.rules.mine imports bioplaus.training.trainer" in message


def test_a_package_that_is_not_listed_is_found(planted: Path) -> None:
    (planted / "bioplaus/attic").mkdir()
    (planted / "bioplaus/attic/box.py").write_text("from bioplaus import errors\n")
    assert broken_layers(planted) == [
        "bioplaus/attic/box.py: the package 'attic' is not listed in ALLOWED"
    ]


def test_a_circle_is_found(planted: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        text = f"from .{other} import x\n"
        (planted / f"bioplaus/system/{name}.py").write_text(text)
    (message,) = circles(planted)
    assert message.count("imports") == 3
    assert "bioplaus/system/c.py:1: bioplaus.system.c imports bioplaus.system.a" in message


def test_a_rule_named_by_the_core_is_found(planted: Path) -> None:
    (planted / "bioplaus/training/trainer.py").write_text('x = 1\nif rule == "gaitprop": pass\n')
    (message,) = named_plugins(planted)
    assert message == "bioplaus/training/trainer.py:2: bioplaus.training.trainer names 'gaitprop'"


def test_a_package_says_what_it_holds() -> None:
    for file in (REPOSITORY / "bioplaus").rglob("__init__.py"):
        text = file.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), file
        if file.parent.name != "bioplaus":
            assert len(text.splitlines()) <= 60, file


def documented() -> dict[str, tuple[frozenset[str], int]]:
    """Of docs/design.md's table: each package, what it may import and its lines."""
    found = {}
    for line in (REPOSITORY / "docs/design.md").read_text(encoding="utf-8").splitlines():
        if len(cells := line.strip("| ").split(" | ")) == 4 and cells[0].startswith("`"):
            name, words = cells[0].strip("`"), cells[2]
            up_to = re.match(r"up to `(\w+)`", words)
            allowed = set(re.findall(r"`([\w.]+)`", words)) | {name}
            allowed |= _up_to(up_to[1]) if up_to else frozenset()
            found[name] = (frozenset(allowed), int(cells[3].replace(",", "")))
    return found


def test_the_table_of_the_design_is_the_dict_above() -> None:
    described = {name: allowed for name, (allowed, _) in documented().items()}
    for name in ALLOWED.keys() - {""}:
        assert name in described, f"docs/design.md has no row for {name}"
        assert described[name] == ALLOWED[name] | {name}, name
    assert described.keys() <= ALLOWED.keys()


def test_its_lines_are_about_right() -> None:
    lines: dict[str, int] = {}
    for module, file in sources(REPOSITORY).items():
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        package = package_of(module)
        lines[package] = lines.get(package, 0) + len(text.splitlines())
    for name, (_, stated) in documented().items():
        assert 1 / 2 <= (stated + 50) / (lines[name] + 50) <= 2, (name, lines[name])
