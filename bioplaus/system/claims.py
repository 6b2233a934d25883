"""Claims: several processes share a results folder, and no two train the same thing.

A claim on a thing is a file with a generation, `.claim-0001`; whoever made the highest one
holds it. A claim is made exclusively, so of several that try one succeeds, and taking over
generation n is making n + 1. While it is held, its holder changes a number in it every few
seconds. It is stale when nobody has changed it for so long *by the watch of the one that
looks*: no clock of another machine and no time of a file is asked. Where the holder ran on
this machine and is gone, it is stale at once.

A claim saves work; no result depends on it. A holder that was stopped and goes on after
somebody took over just finishes: of two records of one name the first stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bioplaus.errors import RecordError
from bioplaus.system.atomic_files import TEMPORARY, create, sweep
from bioplaus.system.processes import Process, this_process

CLAIM = ".claim"
"""How the name of a claim begins."""
BEAT_SECONDS = 5.0
"""How often a holder shows that it lives."""
SILENT_BEATS = 12
"""So many without a change, and a claim is stale. A network may hide changes for some."""
_TRIES = 100
_DIGITS = 20


@dataclass(frozen=True)
class Holder:
    """Somebody else who has a claim, as far as it says."""

    process: Process | None

    def __str__(self) -> str:
        return "another process" if self.process is None else str(self.process)


class Claim:
    """A claim that this process holds, until it is released."""

    def __init__(self, claims: Claims, thing: Path, generation: int) -> None:
        self._claims, self._thing = claims, thing
        self.generation = generation
        self._token = secrets.token_hex(8)
        self._beats = 0

    @property
    def path(self) -> Path:
        """Its file."""
        return _path(self._thing, self.generation)

    def make(self) -> bool:
        """Make its file; False where that generation is there already."""
        facts = json.dumps(asdict(this_process()) | {"token": self._token})
        return create(self.path, _number(0) + facts.encode() + b"\n")

    def beat(self) -> None:
        """Show that the holder lives: a change in place, which needs no new space."""
        self._beats += 1
        with contextlib.suppress(OSError), self.path.open("r+b") as file:
            if self._token.encode() in file.read():
                file.seek(0)
                file.write(_number(self._beats))

    def release(self) -> None:
        """Let go of it, and remove what others before left; a second time is harmless."""
        if self._is_there():
            for generation in _generations(self._thing):
                if generation < self.generation:
                    with contextlib.suppress(OSError):
                        _path(self._thing, generation).unlink()
        self.withdraw()

    def withdraw(self) -> None:
        """Let go of it, and leave what others made."""
        if self._is_there():
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._claims.forget(self)  # last: what Ctrl-C keeps from here is let go of at the end

    def _is_there(self) -> bool:
        """Whether the file of its generation is its own."""
        return self._token.encode() in (_read(self.path) or b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass
class _Watch:
    """What somebody's claim was when it was looked at last, and how long it was that."""

    path: Path
    content: bytes
    looked: float
    silent: float = 0.0


class Claims:
    """The claims that a process holds, and those of others that it waits for.

    As a context it ends with none held, wherever in the taking or releasing of one Ctrl-C came.
    """

    def __init__(
        self,
        beat_seconds: float | None = None,
        silent_beats: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._beat_seconds = BEAT_SECONDS if beat_seconds is None else beat_seconds
        self._silent_beats = SILENT_BEATS if silent_beats is None else silent_beats
        self._clock = clock
        self._watched: dict[Path, _Watch] = {}
        self._held: set[Claim] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            held = list(self._held)
        for claim in held:
            claim.release()

    def take(self, thing: Path) -> Claim | Holder:
        """Claim a thing, or say who has it; RecordError where nothing can be written there.

        thing: the path of its claims without their generation, `results/T/R/C/.claim`.
        """
        for _ in range(_TRIES):
            taken = self._try(thing)
            if taken is not None:
                break
        else:
            return Holder(None)
        if isinstance(taken, Claim):
            sweep(thing.parent)
        return taken

    def tidy(self, thing: Path) -> None:
        """Remove what a killed process left, where nobody needs the claim any more."""
        try:
            names = os.listdir(thing.parent)
        except OSError:
            return
        if any(name.startswith((TEMPORARY, f"{thing.name}-")) for name in names):
            with contextlib.suppress(RecordError):  # a folder that is read alone
                taken = self.take(thing)
                if isinstance(taken, Claim):
                    taken.release()

    def _try(self, thing: Path) -> Claim | Holder | None:
        """One try; None where another was quicker, and all may be different now."""
        highest = max(_generations(thing), default=0)
        seen = b""
        if highest:
            found = _read(_path(thing, highest))
            if found is None:
                return None
            seen, holder = found, _holder(found)
            if not self._is_stale(thing, _path(thing, highest), seen, holder):
                return Holder(holder)
        claim = Claim(self, thing, highest + 1)
        self._hold(claim)  # before its file is there: Ctrl-C leaves no file that nobody holds
        # the holder may have moved, or let go and others come, since it was looked at
        if (
            not claim.make()
            or (highest and _read(_path(thing, highest)) != seen)
            or max(_generations(thing), default=0) != claim.generation
        ):
            claim.withdraw()
            return None
        return claim

    def _is_stale(self, thing: Path, path: Path, seen: bytes, holder: Process | None) -> bool:
        """Whether its holder is gone, or silent for too long.

        Of the time between two looks no more than a beat counts: nobody may have been
        running, the holder as little as this process.
        """
        if holder is not None and holder.is_gone:
            return True
        now = self._clock()
        with self._lock:
            watch = self._watched.get(thing)
            if watch is None or (watch.path, watch.content) != (path, seen):
                self._watched[thing] = _Watch(path, seen, now)
                return False
            watch.silent += min(now - watch.looked, self._beat_seconds)
            watch.looked = now
            return watch.silent >= self._silent_beats * self._beat_seconds

    def _hold(self, claim: Claim) -> None:
        with self._lock:
            self._watched.pop(claim._thing, None)
            self._held.add(claim)
            if self._thread is None or not self._thread.is_alive():
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._beat, args=(self._ended,), name="bioplaus-claims", daemon=True
                )
                self._thread.start()

    def forget(self, claim: Claim) -> None:
        """It is not held any more."""
        with self._lock:
            self._held.discard(claim)
            if not self._held:
                self._ended.set()
                self._thread = None

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self._beat_seconds):
            with self._lock:
                held = list(self._held)
            for claim in held:
                claim.beat()


def _number(beats: int) -> bytes:
    """Always of one length, so that it is changed in place."""
    return f"{beats:0{_DIGITS}d}\n".encode()


def _path(thing: Path, generation: int) -> Path:
    return thing.with_name(f"{thing.name}-{generation:04d}")


def _generations(thing: Path) -> list[int]:
    """Those that are there."""
    start = f"{thing.name}-"
    try:
        names = os.listdir(thing.parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordError(f"cannot read {thing.parent}: {error.strerror}") from None
    ends = [name.removeprefix(start) for name in names if name.startswith(start)]
    return [int(end) for end in ends if end.isdecimal()]


def _read(path: Path) -> bytes | None:
    """What is in a claim; None where it is not there any more."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from None


def _holder(content: bytes) -> Process | None:
    """Who made a claim, where it can be read."""
    try:
        facts = json.loads(content.partition(b"\n")[2])
        return Process(
            str(facts["host"]), str(facts["place"]), int(facts["pid"]), str(facts["start"])
        )
    except (ValueError, KeyError, TypeError):
        return None
