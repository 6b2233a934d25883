"""Claims: one holder at a time, and a dead or silent one is succeeded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from bioplaus.errors import RecordError
from bioplaus.system.atomic_files import TEMPORARY, create, write_atomically
from bioplaus.system.claims import Claim, Claims, Holder
from bioplaus.system.processes import this_process
from tests.helpers.claims import held, in_child, wait_for


class Clock:
    """A watch that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def thing(tmp_path: Path) -> Path:
    return tmp_path / "task" / "rule" / "cell" / ".claim"


def names(thing: Path) -> list[str]:
    return sorted(os.listdir(thing.parent))


def test_one_holds_a_claim_and_the_other_is_told_who(thing: Path) -> None:
    first, second = Claims(), Claims()
    with held(first, thing):
        taken = second.take(thing)
        assert isinstance(taken, Holder)
        assert str(taken) == f"process {os.getpid()} on {this_process().host}"
        assert names(thing) == [".claim-0001"]
    assert names(thing) == []
    held(second, thing).release()


@pytest.mark.parametrize("where", ["before it is made", "after it is made"])
def test_ctrl_c_while_a_claim_is_taken_leaves_none(
    where: str, thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, content: bytes) -> bool:
        if where.startswith("after"):
            create(path, content)
        raise KeyboardInterrupt

    monkeypatch.setattr("bioplaus.system.claims.create", interrupted)
    thing.parent.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), Claims() as claims:
        claims.take(thing)
    assert names(thing) == []
    monkeypatch.undo()
    held(Claims(), thing).release()


def test_ctrl_c_while_a_claim_is_let_go_leaves_none(
    thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), Claims() as claims:
        claim = held(claims, thing)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda path: signal.raise_signal(signal.SIGINT))
            claim.release()
    assert names(thing) == []


def test_who_lost_a_race_removes_nothing_of_the_winner(thing: Path) -> None:
    claims = Claims()
    with held(Claims(), thing) as winner:
        loser = Claim(claims, thing, winner.generation)
        assert not loser.make()
        loser.withdraw()
        loser.release()
        assert names(thing) == [".claim-0001"]


def test_of_many_threads_one_at_a_time(thing: Path) -> None:
    """Eight that want it five times each: never two inside, and all get it."""
    inside, worst, got = 0, 0, Counter[int]()
    lock = threading.Lock()

    def worker(number: int) -> None:
        nonlocal inside, worst
        claims = Claims()
        while got[number] < 5:
            taken = claims.take(thing)
            if isinstance(taken, Holder):
                time.sleep(0.001)
                continue
            with lock:
                inside += 1
                worst = max(worst, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1
                got[number] += 1
            taken.release()

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert worst == 1 and got == {n: 5 for n in range(8)}
    assert names(thing) == []


def test_of_many_processes_that_take_over_one_succeeds(thing: Path, tmp_path: Path) -> None:
    child = in_child(lambda: held(Claims(), thing))
    os.waitpid(child, 0)
    assert names(thing) == [".claim-0001"], "it died without a word"

    def take_over() -> None:
        if isinstance(Claims().take(thing), Claim):
            (tmp_path / f"won-{os.getpid()}").touch()
            time.sleep(2)

    children = [in_child(take_over) for _ in range(8)]
    for child in children:
        os.waitpid(child, 0)
    assert len(list(tmp_path.glob("won-*"))) == 1


@pytest.mark.parametrize("look_every", [0.5, 1.0, 5.0, 700.0])
def test_silence_counts_by_the_watch_of_the_one_that_looks(thing: Path, look_every: float) -> None:
    """Stale after 4 beats of 5 s without a change; of a long sleep no more than a beat counts."""
    clock = Clock()
    holder, looking = Claims(beat_seconds=1e6), Claims(5.0, 4, clock)
    claim = held(holder, thing)
    looks = 0
    while isinstance(looking.take(thing), Holder):
        looks += 1
        clock.now += look_every
    assert looks == max(4, 20 / look_every)
    assert claim.generation == 1 and names(thing) == [".claim-0001", ".claim-0002"]


def test_a_beat_ends_the_silence(thing: Path) -> None:
    clock = Clock()
    claim, looking = held(Claims(beat_seconds=1e6), thing), Claims(5.0, 4, clock)
    for look in range(100):
        assert isinstance(looking.take(thing), Holder), look
        clock.now += 5.0
        if look % 4 == 3:
            claim.beat()


def test_a_holder_beats_by_itself(thing: Path) -> None:
    claim = held(Claims(beat_seconds=0.01), thing)
    before, deadline = claim.path.read_bytes(), time.monotonic() + 30
    while claim.path.read_bytes() == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    claim.release()


def test_times_of_files_and_the_wall_clock_mean_nothing(
    thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = held(Claims(), thing)
    os.utime(claim.path, (0, 0))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    looking = Claims()
    assert all(isinstance(looking.take(thing), Holder) for _ in range(3))


def test_who_was_taken_over_harms_nobody(thing: Path) -> None:
    clock = Clock()
    late, looking = held(Claims(beat_seconds=1e6), thing), Claims(5.0, 1, clock)
    assert isinstance(looking.take(thing), Holder)
    clock.now += 5.0
    heir = held(looking, thing)
    assert heir.generation == 2
    late.beat()
    late.release()
    assert names(thing) == [".claim-0002"], "its own file only"
    assert isinstance(Claims().take(thing), Holder)
    heir.release()
    third = held(Claims(), thing)
    assert third.generation == 1
    content = third.path.read_bytes()
    late.beat()
    late.release()
    assert third.path.read_bytes() == content, "a later claim of the same name is not its own"


def test_a_stopped_holder_is_succeeded_and_does_not_undo_that(thing: Path, tmp_path: Path) -> None:
    """SIGSTOP past staleness: taken over, and the record of the first writer stays."""
    record = tmp_path / "record"

    def hold() -> None:
        with held(Claims(beat_seconds=0.02), thing):
            (tmp_path / "holding").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.01)
            assert not create(record, b"late")
            (tmp_path / "finished").touch()

    child = in_child(hold)
    try:
        wait_for(tmp_path / "holding")
        looking = Claims(beat_seconds=0.02, silent_beats=20)
        for _ in range(50):
            assert isinstance(looking.take(thing), Holder), "it lives"
            time.sleep(0.02)
        os.kill(child, signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while isinstance(heir := looking.take(thing), Holder):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with heir:
            assert create(record, b"first")
            (tmp_path / "go").touch()
            os.kill(child, signal.SIGCONT)
            wait_for(tmp_path / "finished")
            os.waitpid(child, 0)
            assert names(thing) == [".claim-0002"]
    finally:
        os.kill(child, signal.SIGKILL) if not (tmp_path / "finished").exists() else None
    assert record.read_bytes() == b"first" and names(thing) == []


def test_a_claim_that_cannot_be_read_is_somebodys(thing: Path) -> None:
    thing.parent.mkdir(parents=True)
    thing.with_name(".claim-0007").write_bytes(b"\xff half")
    clock = Clock()
    claims = Claims(5.0, 2, clock)
    taken = claims.take(thing)
    assert isinstance(taken, Holder) and str(taken) == "another process"
    for _ in range(2):
        clock.now += 5.0
        taken = claims.take(thing)
    assert isinstance(taken, Claim) and taken.generation == 8
    taken.release()
    assert names(thing) == []


def test_what_dead_writers_left_is_swept_and_what_living_ones_write_is_not(thing: Path) -> None:
    thing.parent.mkdir(parents=True)
    me = this_process()
    ended = in_child(lambda: None)
    os.waitpid(ended, 0)
    alive = f"{TEMPORARY}{me.place}-{me.pid}-{me.start}-aa"
    dead = [
        f"{TEMPORARY}{me.place}-{ended}-1-bb",
        f"{TEMPORARY}{me.place}-{me.pid}-{int(me.start) - 1}-cc",
        f"{TEMPORARY}elsewhere-1-1-dd",
        f"{TEMPORARY}unknown",
    ]
    for name in (alive, *dead, "seed-0000.json"):
        (thing.parent / name).touch()
    Claims().tidy(thing)
    assert names(thing) == sorted([alive, "seed-0000.json"])


def test_without_hard_links_the_first_still_wins(
    tmp_path: Path, thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert create(tmp_path / "file", b"first") and not create(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    with held(Claims(), thing):
        assert isinstance(Claims().take(thing), Holder)
    assert not [n for n in os.listdir(tmp_path) if n.startswith(TEMPORARY)]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, thing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match=r"^cannot write .*\.claim-0001: No space left.*free"):
        Claims().take(thing)
    with pytest.raises(RecordError, match="cannot write"):
        write_atomically(tmp_path / "report", b"text")
    assert names(thing) == [] and os.listdir(tmp_path) == ["task"]
