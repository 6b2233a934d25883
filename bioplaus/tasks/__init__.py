"""The built-in tasks, one TOML file each; copy one to make your own."""

from __future__ import annotations

import tomllib
from importlib import resources

DEFAULT = "digits-square"


def names() -> list[str]:
    """The built-in tasks, the default first, then by name."""
    files = (file.name for file in resources.files(__name__).iterdir())
    found = sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return sorted(found, key=lambda name: name != DEFAULT)


def text(name: str) -> str:
    """The file of a built-in task."""
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def description(name: str) -> str:
    """Its one line."""
    return str(tomllib.loads(text(name))["description"])
