"""What was run again, by whom and with what result: `verification.json` beside the records.

A board may show a record as reproduced where an entry names it by the checksum of its file:
an edited file is another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bioplaus.records.beside import read_beside
from bioplaus.system.atomic_files import write_atomically

FILE = "verification.json"
SCHEMA: Literal[1] = 1


class VerifiedFile(BaseModel):
    """One file that was run again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="relative to the results folder")
    sha256: str = Field(description="of the file that was run again")
    key: str
    result: Literal["to the last bit", "within the tolerance", "differs", "could not be run"]
    reasons: list[str] = Field(description="how the two runs' conditions differ, then what does")
    seeds: list[int] = Field(description="what trained together in the rerun; [] for a tuning")
    date: str = Field(description="when it was run again, UTC, ISO 8601")
    machine: dict[str, Any] = Field(description="device, threads, packages: as a provenance")


class Verification(BaseModel):
    """All that was run again of a folder, the last time of each file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    files: list[VerifiedFile] = []

    def reproduced(self, path: Path) -> VerifiedFile | None:
        """The entry of exactly this file where it reproduced; None otherwise."""
        try:
            checksum = checksum_of(path)
        except OSError:
            return None
        good = ("to the last bit", "within the tolerance")
        return next((f for f in self.files if f.sha256 == checksum and f.result in good), None)

    def reproduced_in(self, folder: Path) -> dict[str, str]:
        """By key, how well and on what day, of the files that are there as they were."""
        there = {f.key: (f, self.reproduced(folder / f.file)) for f in self.files}
        return {k: f"{f.result}, {f.date[:10]}" for k, (f, same) in there.items() if same == f}


def checksum_of(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def read_verification(path: Path) -> Verification:
    """What a file holds, nothing where there is none; RecordError where it holds something else."""
    return read_beside(
        path,
        Verification,
        "is no verification that this bioplaus knows, and stays as it is; write to another file "
        "with -o FILE",
    )


def add_to(path: Path, files: Iterable[VerifiedFile]) -> None:
    """Write the entries, in the place of those of the same file; RecordError where it cannot be."""
    known = {entry.file: entry for entry in read_verification(path).files}
    known |= {entry.file: entry for entry in files}
    whole = Verification(files=sorted(known.values(), key=lambda entry: entry.file))
    content = whole.model_dump(mode="json", by_alias=True)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, text.encode())
