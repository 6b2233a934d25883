"""New plugins: small, complete packages, written from the templates beside this module."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from bioplaus import tasks
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.plugins import registry

KINDS = ("rule", "dataset", "task")

_FILES = {
    "rule": {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "module.py": "$module.py",
        "test.py": "tests/test_$short.py",
    },
    "dataset": {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "module.py": "$module.py",
        "task.toml": "$name-mlp.toml",
        "test.py": "tests/test_$short.py",
    },
    "task": {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "module.py": "$module/__init__.py",
        "task.toml": "$module/$name.toml",
        "test.py": "tests/test_$short.py",
    },
}


def write_package(kind: str, name: str, folder: Path) -> list[Path]:
    """A package for a plugin of that kind and name in `folder/NAME`; the files written.

    Raises ConfigError where the name is not one or is taken, or the folder is there already.
    """
    _check_name(kind, name)
    target = folder / name
    if target.exists():
        raise ConfigError(f"{target} is there already: choose another name, or another --into DIR")
    words = {
        "name": name,
        "short": name.replace("-", "_"),
        "module": "bioplaus_" + name.replace("-", "_"),
        "class": "".join(part.capitalize() for part in name.split("-")),
    }
    templates = resources.files("bioplaus.templates") / kind
    written = []
    for template, place in _FILES[kind].items():
        text = (templates / f"{template}.txt").read_text(encoding="utf-8")
        path = target / Template(place).substitute(words)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(words), encoding="utf-8")
        except OSError as error:
            raise BioplausError(
                f"cannot write {path}: {error.strerror}; name another folder with --into DIR"
            ) from None
        written.append(path)
    return written


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise ConfigError(
            f"{name!r} is no name for a {kind}: use small letters, digits and single hyphens, "
            "and begin with a letter, as in my-rule"
        )
    known = tasks.names() if kind == "task" else registry.names(kind)
    if name in known:
        raise ConfigError(f"there is a {kind} called {name!r} already: choose another name")
