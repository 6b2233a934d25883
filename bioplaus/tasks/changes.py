"""Changes of a task's fields by name, those within tables too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def with_part(table: object, path: Sequence[str], value: object) -> object:
    """A table with one of its values, found by a path, replaced."""
    first, *rest = path
    known = dict(table) if isinstance(table, Mapping) else {}
    return known | {first: with_part(known.get(first), rest, value) if rest else value}


def instead(field: str) -> str:
    """Where else to set what is no task setting; '' for what is nowhere."""
    if field in ("lr", "momentum", "betas", "weight_decay"):
        return f"; the optimizer's is set with --set optimizer.{field}=..."
    if field.startswith("task."):
        return f"; here without task.: {field[5:]}"
    if field.partition(".")[0] == "network":
        return "; make a task of your own: `bioplaus show TASK > my-task.toml`, --task my-task.toml"
    return ""
