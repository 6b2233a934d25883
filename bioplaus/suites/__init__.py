"""The built-in suites, one TOML file each; copy one to make your own."""

from __future__ import annotations

import tomllib
from importlib import resources


def names() -> list[str]:
    """The built-in suites, by name."""
    files = (file.name for file in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def text(name: str) -> str:
    """The file of a built-in suite."""
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def description(name: str) -> str:
    """Its one line."""
    return str(tomllib.loads(text(name)).get("description", ""))
