"""A rule that was edited while its version stayed: no cell holds results of both.

What is installed names its version in a record's key, and its source's checksum in the
record's provenance. Where the checksums differ under one key, results of two programs would
stand in one row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bioplaus.errors import PluginError, RecordError
from bioplaus.plugins import registry
from bioplaus.records.reading import read_record
from bioplaus.records.schema import Record
from bioplaus.running.seed_records import SeedRecords


def refuse_edited(cell: SeedRecords, replaced: Collection[int] = ()) -> None:
    """PluginError where a cell holds records of another source of its rule.

    replaced: seeds whose records will be replaced, and so need not agree.
    """
    if reason := edited(cell, replaced):
        raise PluginError(f"{cell.title}: {reason}")


def edited(cell: SeedRecords, replaced: Collection[int] = ()) -> str:
    """Of which seeds a cell holds records of another source of its rule, and what to do; or ""."""
    rule = cell.experiment.rule
    now = registry.find("rule", rule.name).origin()
    old = sorted(r.seed for r in _there(cell) if r.seed not in replaced and not agrees(r, now))
    if not old:
        return ""
    seeds = ", ".join(map(str, old[:10])) + (" ..." if len(old) > 10 else "")
    return (
        f"the code of {rule.name} was changed since the records of seeds {seeds} in "
        f"{cell.folder} were made, and its version is still {rule.version}; raise `version` in "
        "the class where results change, run all of these seeds again (`bioplaus run --force`; "
        "`bioplaus bench` once that folder is gone), or keep them apart with --results DIR"
    )


def agrees(record: Record, now: Mapping[str, Any]) -> bool:
    """Whether a record was made by the source that `Plugin.origin` tells of now.

    Also where either does not say, and between releases of bioplaus: there a version is
    raised where results change, which its tests see to.
    """
    then = record.provenance.get("rule")
    if not isinstance(then, Mapping) or not (then.get("sha256") and now.get("sha256")):
        return True
    releases = [str(origin.get("source", "")) for origin in (then, now)]
    ours = all(source.startswith("bioplaus ") for source in releases)
    return then["sha256"] == now["sha256"] or (ours and releases[0] != releases[1])


def _there(cell: SeedRecords) -> list[Record]:
    """The records of a cell that can be read."""
    found = []
    for path in sorted(cell.folder.glob("seed-*.json")):
        try:
            found.append(read_record(path))
        except RecordError:
            continue
    return [record for record in found if record.cell == cell.digest]
