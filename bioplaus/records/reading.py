"""Files of a results folder read: whole, damaged, or of a newer bioplaus."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from bioplaus.errors import RecordError, shown
from bioplaus.records.consistency import contradictions
from bioplaus.records.keys import digest, measurement_key, seed_key
from bioplaus.records.schema import SCHEMA, FailureRecord, Measurement, Record, Tuning

MAX_BYTES = 32 * 2**20
"""Of a file; reading one takes less than fifty times its bytes of memory, whatever it holds."""
_REMEDY = "; take it from where it came, or delete it and run again"
_SHOWN = 3
"""Contradictions of a file that are named."""

Item = Record | Tuning | FailureRecord | Measurement
"""What a file of a results folder holds."""
OneItem = TypeVar("OneItem", Record, Tuning, FailureRecord, Measurement)


class MissingError(RecordError):
    """A file that is not there; or no longer, in a folder that others work in."""


class NewerError(RecordError):
    """A file that a newer bioplaus wrote: it is skipped in reading, and never written over."""


def _damaged(path: Path, what: str) -> RecordError:
    return RecordError(f"{path}: skipped, damaged ({what}){_REMEDY}")


def read_item(path: Path) -> Item:
    """What a file of a results folder holds, its kind by its name."""
    if path.name.startswith("axis-"):
        return read_measurement(path)
    if path.name.startswith("tuning-"):
        return read_tuning(path)
    return read_failure(path) if path.name == "failure.json" else read_record(path)


def read_record(path: Path) -> Record:
    """The record in a file; RecordError naming the file and what is wrong with it.

    What contradicts itself is refused as what is damaged.
    """
    record = _read(path, Record)
    cell = _digest(path, record)
    if record.cell != cell or record.key != seed_key(cell, record.seed):
        raise _damaged(path, "the key does not match the configuration")
    return _consistent(path, record)


def read_tuning(path: Path) -> Tuning:
    """The tuning in a file; RecordError as for a record."""
    tuning = _read(path, Tuning)
    if tuning.key != _digest(path, tuning):
        raise _damaged(path, "the key does not match the configuration")
    return _consistent(path, tuning)


def read_failure(path: Path) -> FailureRecord:
    """The failure in a file; RecordError as for a record."""
    failure = _read(path, FailureRecord)
    if failure.cell != _digest(path, failure):
        raise _damaged(path, "the cell does not match the configuration")
    return _consistent(path, failure)


def read_measurement(path: Path) -> Measurement:
    """The measurement in a file; RecordError as for a record."""
    item = _read(path, Measurement)
    if item.key != measurement_key(
        item.axis, item.version, item.settings, item.record, item.weights
    ):
        raise _damaged(path, "the key does not match the settings")
    return _consistent(path, item)


def _consistent(path: Path, item: OneItem) -> OneItem:
    found = contradictions(item)
    if found:
        what = shown("; ".join(found[:_SHOWN]), 400)
        raise RecordError(f"{path}: skipped, it contradicts itself ({what}){_REMEDY}")
    return item


_M = TypeVar("_M", bound=BaseModel)


def _read(path: Path, model: type[_M]) -> _M:
    try:
        content = _parsed(_bounded(path))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: skipped, {error.strerror}") from None
    except OSError as error:
        raise RecordError(f"{path}: skipped, {error.strerror}") from None
    except (ValueError, RecursionError):
        raise _damaged(path, "not JSON") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise NewerError(
            f"{path}: skipped, written by a newer bioplaus (schema {version}, this reads {SCHEMA})"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if _only_adds(error) and version == SCHEMA:
            field = shown(".".join(map(str, first["loc"])))
            raise NewerError(
                f"{path}: skipped, written by a newer bioplaus (this one knows no field {field})"
            ) from None
        where = shown(".".join(map(str, first["loc"]))) or "record"
        what = f"{where}: {shown(first['msg'].removeprefix('Value error, '), 400)}"
        raise _damaged(path, what) from None


def _only_adds(error: ValidationError) -> bool:
    """Whether all that is wrong is fields that are not known here."""
    return all(item["type"] == "extra_forbidden" for item in error.errors(include_url=False))


def _bounded(path: Path) -> bytes:
    """The bytes of a file, and of nothing else: a pipe or a device may have no end."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise RecordError(f"{path}: skipped, not a file")
    with path.open("rb") as file:
        content = file.read(min(status.st_size, MAX_BYTES) + 1)
        if len(content) > status.st_size:  # it grows
            content += file.read(MAX_BYTES + 1 - len(content))
    if len(content) > MAX_BYTES:
        raise RecordError(f"{path}: skipped, larger than {MAX_BYTES} bytes")
    return content


def _parsed(text: bytes) -> Any:
    """JSON, by the faster parser; what that refuses, the standard library's decides on."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


def _digest(path: Path, item: Record | Tuning | FailureRecord) -> str:
    try:
        return digest(item.configuration)
    except (ValueError, RecursionError):
        raise _damaged(path, "configuration: not canonical JSON") from None
