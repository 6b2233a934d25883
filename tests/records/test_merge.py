"""Merging folders: joined, conflicts named, nothing lost."""

from __future__ import annotations

from pathlib import Path

from bioplaus.records.merge import merge
from bioplaus.records.store import Store
from tests.helpers.command import call
from tests.helpers.records import make_record
from tests.helpers.tunings import make_failure, make_tuning


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_merge_joins_and_names_conflicts_and_loses_nothing(tmp_path: Path) -> None:
    one, two, into = (tmp_path / name for name in ("one", "two", "into"))
    Store(one).write(make_record(seed=0))
    Store(one).write(make_tuning())
    Store(two).write(make_record(seed=0, seconds=9.0))
    Store(two).write(make_record(seed=1))
    Store(two).write(make_record(seed=2, test=0.7))
    Store(two).write(make_failure(task="other"))
    Store(into).write(make_record(seed=2, test=0.9))
    damaged = Store(two).write(make_record(seed=3))
    damaged.write_bytes(damaged.read_bytes()[:50])
    before = files(one), files(two), files(into)
    done = merge([one, two], into)
    assert (done.copied, done.same) == (4, 1)
    (conflict,) = done.conflicts
    assert "seed-0002.json is not copied" in conflict and "states other results" in conflict
    (line,) = done.damaged
    assert line.startswith(f"{damaged}: skipped, damaged")
    assert (files(one), files(two)) == before[:2], "no source is changed"
    after = files(into)
    assert all(after[name] == content for name, content in before[2].items())
    found = Store(into).read_all()
    assert [r.seed for r in found.records] == [0, 1, 2] and not found.damaged
    assert found.records[0].timing.train_seconds == 2.0, "the first one stays"
    assert merge([one, two], into).copied == 0


def test_merge_at_the_command_line(tmp_path: Path) -> None:
    one, into = tmp_path / "one", tmp_path / "into"
    Store(one).write(make_record())
    done = call("merge", str(one), "--into", str(into))
    assert (done.exit_code, done.stdout) == (0, f"1 file copied into {into}, 0 there already.\n")
    Store(into).write(make_record(test=0.1), replace=True)
    done = call("merge", str(one), "--into", str(into))
    assert done.exit_code == 1 and "Conflict: " in done.stderr and "1 conflict;" in done.stderr
    assert "there is no results folder" in call("merge", "nowhere", "--into", str(into)).stderr
    same = call("merge", str(into), "--into", str(into))
    assert same.exit_code == 1 and "is the folder to merge into" in same.stderr
