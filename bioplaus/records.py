"""Records: one self-contained JSON file for each (task, rule, configuration, seed).

A record states facts and is never edited. Its key covers all that changes the result
and nothing else: not the device, the threads, the seeds beside it or package versions,
which stand under `provenance` and `timing`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bioplaus.errors import RecordError

SCHEMA: Literal[1] = 1
MAX_BYTES = 64 * 2**20

Number = Annotated[
    float | None,
    Field(strict=True),
    BeforeValidator(lambda v: None if isinstance(v, float) and not math.isfinite(v) else v),
]
"""A float, or null where it is not finite or was not measured."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A name that cannot leave its folder."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curves(_Part):
    """One number per epoch trained; null where it was not finite or not measured."""

    metrics: dict[str, list[Number]] = Field(
        description="epoch means of what the rule reports at each step; always `loss`"
    )
    validation_accuracy: list[Number]
    test_accuracy: list[Number]
    alignment: dict[str, dict[str, list[Number]]] = Field(
        description="reference (`loss`, `objective`) -> `cosine.L` and `norm_ratio.L` of layer "
        "L's update against that gradient, on the probe batch, after each epoch"
    )


class Timing(_Part):
    """Seconds of the whole group of seeds that trained together."""

    group_train_seconds: float
    group_evaluation_seconds: float
    group_size: int
    train_seconds: float = Field(description="this seed's share: the group's by its size")


class Record(_Part):
    """What one seed of one rule under one configuration did on one task."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    key: str
    cell: str = Field(description="the key without the seed: the folder of sibling seeds")
    task: Name
    rule: Name
    seed: int = Field(ge=0)
    label: str = Field(description="what differs from the defaults, for people; '' for nothing")
    status: Literal["complete", "diverged"]
    diverged_epoch: int | None = None
    configuration: dict[str, Any] = Field(
        description="all that the key covers: task content, data, rule options, optimizers, ..."
    )
    train_loss: Number
    validation_accuracy: Number
    test_accuracy: Number
    curves: Curves
    timing: Timing
    provenance: dict[str, Any]

    model_config = ConfigDict(populate_by_name=True)

    def to_json(self) -> str:
        """Readable, with sorted keys and no NaN."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no blanks, floats as their shortest repr."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """A results folder: `TASK/RULE/CELL/seed-0003.json`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def path(self, task: str, rule: str, cell: str, seed: int) -> Path:
        """Where that record is, or would be."""
        return self.folder / task / rule / cell[:16] / f"seed-{seed:04d}.json"

    def check_writable(self) -> None:
        """RecordError where a record could not be written: better before a run than after."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise RecordError(
                f"cannot write to the results folder {self.folder}: {error.strerror}; "
                "choose another with --results DIR"
            ) from None

    def write(self, record: Record) -> Path:
        """Write atomically: a reader, or a crash, sees the whole record or none."""
        path = self.path(record.task, record.rule, record.cell, record.seed)
        write_atomically(path, record.to_json().encode())
        return path

    def read_all(
        self, rules: Sequence[str] = (), tasks: Sequence[str] = ()
    ) -> tuple[list[Record], list[str]]:
        """All records, of some rules and tasks only where given, and what was wrong with others.

        Sorted by task, rule, label, cell and seed. RecordError for a folder that is not there.
        """
        if not self.folder.is_dir():
            raise RecordError(
                f"there is no results folder {self.folder}; `bioplaus run` makes one, "
                "or name another with --results DIR"
            )
        records, damaged = [], []
        for path in sorted(self.folder.glob("*/*/*/seed-*.json")):
            task, rule = path.parts[-4], path.parts[-3]
            if (rules and rule not in rules) or (tasks and task not in tasks):
                continue
            try:
                record = read_record(path)
                _check_place(record, path, self.path)
            except RecordError as error:
                damaged.append(str(error))
            else:
                records.append(record)
        records.sort(key=lambda r: (r.task, r.rule, r.label, r.cell, r.seed))
        return records, damaged


def _check_place(record: Record, path: Path, place: Any) -> None:
    expected = place(record.task, record.rule, record.cell, record.seed)
    if expected != path:
        raise RecordError(f"{path}: skipped, its content belongs at {expected}")


def read_record(path: Path) -> Record:
    """The record in a file; RecordError naming the file and what is wrong with it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path}: skipped, larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: skipped, {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RecordError(f"{path}: skipped, damaged (not JSON)") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise RecordError(
            f"{path}: skipped, written by a newer bioplaus (schema {version}, this reads {SCHEMA})"
        )
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise RecordError(f"{path}: skipped, damaged ({where}: {first['msg']})") from None
    try:
        cell = digest(record.configuration)
    except (ValueError, RecursionError):
        raise RecordError(f"{path}: skipped, damaged (configuration: not canonical JSON)") from None
    if record.cell != cell or record.key != seed_key(cell, record.seed):
        raise RecordError(f"{path}: skipped, damaged (the key does not match the configuration)")
    return record


def seed_key(cell: str, seed: int) -> str:
    """A record's key, from its configuration's digest and its seed."""
    return digest({"cell": cell, "seed": seed})


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk, rename; RecordError where that fails."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def to_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One flat row per record, for a data frame."""
    return [
        {
            "task": r.task,
            "rule": r.rule,
            "config": r.label,
            "seed": r.seed,
            "status": r.status,
            "test_accuracy": r.test_accuracy,
            "validation_accuracy": r.validation_accuracy,
            "train_loss": r.train_loss,
            "epochs": len(r.curves.test_accuracy),
            "train_seconds": r.timing.train_seconds,
            "cell": r.cell,
            "key": r.key,
        }
        for r in records
    ]
