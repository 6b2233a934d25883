"""What can go wrong through no fault of the program, as exceptions with one clear line.

Everything a user can cause or mend is a `BioplausError`; the command line prints it
without a traceback. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


class BioplausError(Exception):
    """Base of all errors that a user can mend; `str(error)` says what and how."""


class UnknownNameError(BioplausError):
    """A rule, dataset, task, report or option that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        quoted = shown(repr(name))
        super().__init__(f"unknown {kind} {quoted}{closest(name, self.known, kind)}{hint}")


class PluginError(BioplausError):
    """An installed plugin that cannot be loaded or breaks its contract."""


class ConfigError(BioplausError):
    """An option with a wrong name, type or range, or a malformed task file."""


class UnsupportedError(BioplausError):
    """A rule that cannot train a given network; the message says why, and `reason` that alone."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class DataError(BioplausError):
    """Data that are missing, truncated or not what they should be."""


class RecordError(BioplausError):
    """A results folder or record that cannot be read or written."""


class ModelError(BioplausError):
    """A torch model that the drop-in interface cannot take apart."""


_LONGEST_LIST = 20
_LISTS = {kind: f"{kind}s" for kind in ("rule", "dataset", "task", "suite")} | {"axis": "axes"}
"""Kinds of names -> what `bioplaus list` calls them."""


def closest(name: str, known: Iterable[str], kind: str = "") -> str:
    """`; did you mean ...?`; where nothing is close, the whole list, or where it is to be had.

    kind: what the names are; where it is `rule` or another that `bioplaus list` has, all of those.
    """
    names = sorted(known)
    near = near_to(name, names)
    if near:
        *others, last = near
        return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    listed = _LISTS.get(kind)
    if listed and len(names) > _LONGEST_LIST:
        return f"; `bioplaus list {listed}` names the {len(names)} there are"
    return f"; there are: {', '.join(names)}" if names else "; there are none"


def near_to(name: str, known: Iterable[str]) -> list[str]:
    """The names that may be meant, the closest first, whatever the case.

    Two that look like it; or four that begin with it, or whose initials it is, as dfa's are.
    """
    name = name[:200].lower()  # comparing takes the square of the length
    known = sorted(known)
    likeness = {o: difflib.SequenceMatcher(None, o.lower(), name).ratio() for o in known}
    longer = [o for o in known if len(name) > 2 and o.lower().startswith(name)]
    longer += [o for o in known if "-" in o and "".join(w[:1] for w in o.split("-")) == name]
    found = longer or [o for o in known if likeness[o] >= 0.7]
    return sorted(found, key=lambda o: -likeness[o])[: 4 if longer else 2]


def shown(value: object, longest: int = 120) -> str:
    """Text that a stranger may have chosen, on one line, without control characters, not long."""
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return printable(text, lambda c: c.encode("unicode_escape").decode())


def printable(text: str, instead: Callable[[str], str] = lambda c: " ") -> str:
    """The text as one line without control characters, so that it steers no terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else instead(c) for c in text)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except (RecursionError, ValueError):  # nested too deeply; an int of thousands of digits
        return "..."


def validation_message(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Pydantic's findings in one line: field, what is wrong, and the value given; five at most.

    model: what was validated, so that an unknown field can be told the closest known one.
    """
    findings = []
    items = error.errors(include_url=False)
    if model is not None:  # a list whose every item is wrong is not too short as well
        items = [i for i in items if i["type"] != "too_short" or not _has_inner(i, items)]
    for item in items[:5]:
        where = shown(".".join(map(str, item["loc"])))
        message = shown(_in_words(item, model), 400)
        given = (
            f" (given: {shown(_repr(item['input']))})"
            if where and item["type"] != "missing"
            else ""
        )
        findings.append(f"{where}: {message}{given}" if where else message)
    if len(items) > 5:
        findings.append(f"and {len(items) - 5} more")
    return "; ".join(findings)


def _has_inner(item: ErrorDetails, items: Sequence[ErrorDetails]) -> bool:
    """Whether something inside of it is wrong, too."""
    depth = len(item["loc"])
    return any(len(i["loc"]) > depth and i["loc"][:depth] == item["loc"] for i in items)


_DUE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number is due"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number is due"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false is due, without quotes"),
    "string_type": "a text is due, in quotes",
    "dict_type": "a table is due",
    "missing": "it is missing",
    "finite_number": "a finite number is due",
}
"""Pydantic's kinds of errors -> what to write instead."""


def _in_words(item: ErrorDetails, model: type[BaseModel] | None) -> str:
    """What is wrong, with the closest name where one is unknown."""
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        *path, name = item["loc"]
        return "there is no such field" + (
            closest(str(name), _fields_at(model, path)) if model is not None else ""
        )
    if kind in ("model_type", "model_attributes_type"):
        fields = _fields_at(model, item["loc"]) if model is not None else []
        return "a table is due" + (f", of {', '.join(fields)}" if fields else "")
    if kind == "literal_error":
        return _choices(item["ctx"]["expected"], _may_be_left_out(model, item["loc"]))
    if kind in ("tuple_type", "list_type"):
        given = item["input"]
        if isinstance(given, str):
            return f"a list is due, as in [{shown(json.dumps(given), 60)}]"
        return f"a list is due, as in [{'...' if isinstance(given, dict) else '1, 2'}]"
    if kind == "too_short":
        return _items("at least", item["ctx"]["min_length"])
    if kind == "too_long":
        return _items("at most", item["ctx"]["max_length"])
    if kind == "string_pattern_mismatch" and item["ctx"]["pattern"].startswith("^[a-z0-9]"):
        return "small letters, digits, hyphens, dots and underscores are due, as in my-name"
    return _DUE.get(kind) or message.replace("Input should be", "it should be")


def _items(bound: str, number: int) -> str:
    return f"{bound} {number} {'item is' if number == 1 else 'items are'} due"


def _choices(expected: str, optional: bool) -> str:
    if expected == "True":
        return "it should be true, or left out"
    return f"it should be {expected}{', or left out' if optional else ''}"


def _may_be_left_out(model: type[BaseModel] | None, path: Sequence[int | str]) -> bool:
    """Whether the field at a path is nothing by default."""
    if model is None or len(path) != 1 or path[0] not in model.model_fields:
        return False
    field = model.model_fields[str(path[0])]
    return not field.is_required() and field.default is None


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields of whatever stands at a path of pydantic's: names, indices, tags of unions."""
    here = [model]
    for part in path:
        if isinstance(part, int):
            continue
        tagged = [m for m in here if _tag(m) == part]
        here = tagged or [
            inner
            for m in here
            if part in m.model_fields
            for inner in models_in(m.model_fields[part].annotation)
        ]
    return sorted({name for m in here for name in m.model_fields})


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("type")
    return field.default if field else None


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """All models that a type is made of."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [m for part in get_args(annotation) for m in models_in(part)]
