"""What can go wrong through no fault of the program, as exceptions with one clear line.

Everything a user can cause or mend is a `BioplausError`; the command line prints it
without a traceback. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BioplausError(Exception):
    """Base of all errors that a user can mend; `str(error)` says what and how."""


class UnknownNameError(BioplausError):
    """A rule, dataset, task, report or option that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        quoted = shown(repr(name))
        super().__init__(f"unknown {kind} {quoted}{closest(name, self.known)}{hint}")


class PluginError(BioplausError):
    """An installed plugin that cannot be loaded or breaks its contract."""


class ConfigError(BioplausError):
    """An option with a wrong name, type or range, or a malformed task file."""


class UnsupportedError(BioplausError):
    """A rule that cannot train a given network; the message says why."""


class DataError(BioplausError):
    """Data that are missing, truncated or not what they should be."""


class RecordError(BioplausError):
    """A results folder or record that cannot be read or written."""


class ModelError(BioplausError):
    """A torch model that the drop-in interface cannot take apart."""


def closest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or the whole list where nothing is close."""
    names = sorted(known)
    name = name[:200]  # no plugin's is longer, and comparing takes the square of it
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there are: {', '.join(names)}" if names else "; there are none"


def shown(value: object, longest: int = 120) -> str:
    """Text that a stranger may have chosen, on one line, without control characters, not long."""
    text = str(value)
    if len(text) > longest:
        text = f"{text[: longest - 3]}..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except (RecursionError, ValueError):  # nested too deeply; an int of thousands of digits
        return "..."


def validation_message(error: ValidationError) -> str:
    """Pydantic's findings in one line: field, what is wrong, and the value given; five at most."""
    findings = []
    items = error.errors(include_url=False)
    for item in items[:5]:
        where = shown(".".join(map(str, item["loc"])))
        message = shown(item["msg"].removeprefix("Value error, "), 400)
        given = (
            f" (given: {shown(_repr(item['input']))})"
            if where and item["type"] != "missing"
            else ""
        )
        findings.append(f"{where}: {message}{given}" if where else message)
    if len(items) > 5:
        findings.append(f"and {len(items) - 5} more")
    return "; ".join(findings)
