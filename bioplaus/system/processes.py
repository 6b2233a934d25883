"""Which process wrote something, and whether it is gone for certain."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Process:
    """A process, so that no other is taken for it: not a later one of its number, either."""

    host: str
    place: str
    """Names a boot of a kernel and a name space of processes; '' where these are not known."""
    pid: int
    start: str
    """When it started, on the kernel's own clock, which nobody can set."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; False too where that cannot be known from here."""
        if not self.place or self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # another user's
        found = _state_and_start(self.pid)
        return found is not None and (found[0] in "ZX" or found[1] != self.start)


def this_process() -> Process:
    """The one that asks."""
    pid = os.getpid()
    return Process(platform.node() or "an unnamed host", _place(), pid, _own_start(pid))


@cache
def _place() -> str:
    """The same for all processes that see each other by number, and for no others."""
    try:
        text = f"{_BOOT.read_text()} {os.readlink(_NAMESPACE)}"
    except OSError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def _own_start(pid: int) -> str:
    found = _state_and_start(pid)
    return found[1] if found is not None else ""


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """A letter and clock ticks since the boot, from the kernel; None where it says nothing.

    Not psutil's times: they are counted from a wall clock, and change when that is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None


@cache
def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
