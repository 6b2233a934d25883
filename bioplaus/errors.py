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
        super().__init__(f"unknown {kind} {name!r}{closest(name, self.known)}{hint}")


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
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there are: {', '.join(names)}" if names else "; there are none"


def validation_message(error: ValidationError) -> str:
    """Pydantic's findings in one line: field, what is wrong, and the value given."""
    findings = []
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        given = f" (given: {item['input']!r})" if where and item["type"] != "missing" else ""
        findings.append(f"{where}: {message}{given}" if where else message)
    return "; ".join(findings)
