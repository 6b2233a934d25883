"""Which rules a suite asked for on which tasks, and why they cannot train there: `refusals.json`.

It stands beside the records, so that a board can say why a place is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from bioplaus.records.beside import read_beside
from bioplaus.system.atomic_files import write_atomically

FILE = "refusals.json"


class Refusal(NamedTuple):
    """A rule that cannot train a task's network, or learn from what the task gives."""

    task: str
    rule: str
    reason: str


class _Refusals(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    refusals: list[Refusal] = []


def read_refusals(folder: Path) -> list[Refusal]:
    """What a results folder says, sorted; RecordError where its file holds something else."""
    known = read_beside(
        folder / FILE,
        _Refusals,
        "says in no way that this bioplaus knows which rules cannot train what, and stays "
        "as it is: move it away",
    )
    return sorted(known.refusals)


def add_refusals(folder: Path, refusals: Iterable[Refusal]) -> None:
    """Write them beside those there are, in the place of those of the same rule and task.

    RecordError where they cannot be written; where nothing is new, nothing is.
    """
    there = read_refusals(folder)
    known = {(r.task, r.rule): r for r in (*there, *refusals)}
    together = sorted(known.values())
    if together == there:
        return
    listed: Sequence[dict[str, str]] = [refusal._asdict() for refusal in together]
    text = json.dumps({"schema": 1, "refusals": listed}, indent=1, ensure_ascii=False)
    write_atomically(folder / FILE, f"{text}\n".encode())
