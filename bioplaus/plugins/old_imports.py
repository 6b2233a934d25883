"""Imports of bioplaus that no longer work, and what to write in their place."""

from __future__ import annotations

import ast
import re
from importlib import import_module

from bioplaus.errors import closest, shown


def hint(error: BaseException, source: bytes | None) -> str:
    """`; write ...` for an import of bioplaus that failed, else ''.

    source: of the module that was imported, where it is known.
    """
    if not isinstance(error, ImportError) or not _is_ours(error.name):
        return ""
    public = [name for name in dir(import_module("bioplaus")) if not name.startswith("_")]
    missing = re.search(r"cannot import name '(\w+)'", str(error))
    wanted = [missing[1]] if missing else _names(error.name, source)
    there = [name for name in wanted if name in public]
    if there:
        return f"; write: from bioplaus import {', '.join(there)}"
    if wanted:
        near = closest(wanted[0], public)
        known = near if near.startswith("; did you mean") else ""
        return f"; bioplaus has no public name {shown(wanted[0])}{known} (see `help(bioplaus)`)"
    return "; public names are imported from bioplaus itself: from bioplaus import LayeredRule, ..."


def _is_ours(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] == "bioplaus"


def _names(module: str | None, source: bytes | None) -> list[str]:
    """What a source imports from that module, or from one below it."""
    try:
        tree = ast.parse(source or b"")
    except (SyntaxError, ValueError):
        return []
    return [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and _within(node.module, module)
        for alias in node.names
    ]


def _within(name: str | None, module: str | None) -> bool:
    return name is not None and (name == module or name.startswith(f"{module}."))
