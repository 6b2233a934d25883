"""What a task file may hold, read off the models that parse it: its tables and their fields."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bioplaus.errors import models_in
from bioplaus.tasks.task import Task


@dataclass(frozen=True)
class Table:
    """A table of task files: [optimizer], one layer, the schedule."""

    path: tuple[str, ...]
    """From the file's top; a layer's type stands for it."""
    model: type[BaseModel]

    @property
    def what(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.model) or ""

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """Those a user writes, without the type that names the table."""
        return {n: f for n, f in self.model.model_fields.items() if n != "type"}


def tables() -> list[Table]:
    """All of them, the task's own first, each once, where it stands the least deep."""
    there: list[Table] = [Table((), Task)]
    seen: set[type[BaseModel]] = {Task}
    for table in there:  # it grows meanwhile
        for inner in _inside(table):
            if inner.model not in seen:
                seen.add(inner.model)
                there.append(inner)
    return there


def _inside(table: Table) -> Iterator[Table]:
    for name, field in table.model.model_fields.items():
        for model in models_in(field.annotation):
            kind = model.model_fields.get("type")
            at = () if name == "layer" else (name,)  # of a node, whose table is its layer's too
            yield Table((*table.path, *at, *([str(kind.default)] if kind else [])), model)


def layers() -> dict[str, str]:
    """The built-in types of layers, each in one line."""
    kinds = [table for table in tables() if "type" in table.model.model_fields]
    return {table.path[-1]: table.what.partition("\n")[0] for table in kinds}


def found(name: str) -> tuple[list[Table], list[tuple[Table, str]]]:
    """What a name is in task files: tables, and single fields with their tables.

    A field may be named with what stands before it: `optimizer.lr`, or `lr` alone.
    """
    asked = tuple(name.removeprefix("task.").split("."))
    there = tables()
    whole = [table for table in there if table.path and table.path[-len(asked) :] == asked]
    single = [
        (table, field)
        for table in there
        for field, info in table.fields.items()
        if (*table.path, field)[-len(asked) :] == asked
        and not any(model in [t.model for t in whole] for model in models_in(info.annotation))
    ]
    return whole, single


def setting(table: Table, field: str) -> str | None:
    """What `--set` calls a field: optimizer.lr, task.schedule.kind; None where it sets it not."""
    path = (*table.path, field)
    if path[0] == "network" or path == ("name",):
        return None
    return ".".join(path if path[0] == "optimizer" else ("task", *path))


def in_words(kind: Any) -> str:
    """A field's type in words, without what validates it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return in_words(parts[0])
    if origin is typing.Literal:
        return " | ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(in_words, parts))
    if kind in (None, type(None)):
        return "null"
    if kind is Ellipsis:
        return "..."
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(in_words, parts))}]"
    return getattr(kind, "__name__", str(kind))
