"""Taking turns: what others have is left for the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bioplaus.running.taking_turns import in_turn
from bioplaus.system.atomic_files import sweep
from bioplaus.system.claims import Claims, Holder
from bioplaus.system.processes import this_process
from tests.helpers.claims import held


def test_in_turn_leaves_what_others_have_for_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = held(Claims(), tmp_path / "a" / ".claim")
    monkeypatch.setattr("bioplaus.running.taking_turns.LOOK_SECONDS", 0.01)
    done, told = [], []

    def tell(thing: str, holder: Holder) -> None:
        told.append((thing, str(holder)))
        if len(told) == 3:
            other.release()

    for thing in in_turn("abc", lambda t: tmp_path / t / ".claim", Claims(), tell):
        assert os.listdir(tmp_path / thing) == [".claim-0001"]
        done.append(thing)
    assert done == ["b", "c", "a"]
    assert told == [("a", f"process {os.getpid()} on {this_process().host}")] * 3
    assert not list(tmp_path.rglob(".claim*"))
    sweep(tmp_path / "not there")
