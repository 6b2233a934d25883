"""Files that are whole or not there, whoever is killed and however many write.

A file is written under a temporary name beside its place, flushed to disk, and then takes
its name. The temporary name says which process writes it, so that what a killed one left
can be told from what is being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from bioplaus.errors import RecordError
from bioplaus.system.processes import Process, this_process

TEMPORARY = ".writing-"
_TRIES = 5
"""Of a write whose temporary file, or folder, somebody removes meanwhile."""
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_atomically(path: Path, content: bytes) -> None:
    """Write the file, over one of that name if there is one; RecordError where that fails."""

    def rename(temporary: str) -> bool:
        os.replace(temporary, path)
        return True

    _write(path, content, rename)


def create(path: Path, content: bytes) -> bool:
    """Write the file where there is none of that name; False where there is one already.

    Of several processes that try, one succeeds: a hard link is made, or not, at once. Where
    a file system has no hard links the name is reserved with an empty file first, which a
    process killed at that instant leaves behind. RecordError where it cannot be written.
    """

    def link(temporary: str) -> bool:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _reserve(temporary, path)
        return True

    return _write(path, content, link)


def _reserve(temporary: str, path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    os.replace(temporary, path)
    return True


def _write(path: Path, content: bytes, publish: Callable[[str], bool]) -> bool:
    for left in reversed(range(_TRIES)):
        try:
            return _written(path, content, publish)
        except FileNotFoundError as error:
            if not left:
                raise cannot_write(path, error) from None
        except OSError as error:
            raise cannot_write(path, error) from None
    raise AssertionError("the last try returns or raises")


def _written(path: Path, content: bytes, publish: Callable[[str], bool]) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = os.path.join(path.parent, _temporary_name())
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return publish(temporary)
    finally:
        Path(temporary).unlink(missing_ok=True)


def cannot_write(path: object, error: OSError) -> RecordError:
    """One line on it, and what to do."""
    hint = "; free some space, and the same command goes on" if error.errno in _FULL else ""
    return RecordError(f"cannot write {path}: {error.strerror}{hint}")


def _temporary_name() -> str:
    me = this_process()
    return f"{TEMPORARY}{me.place}-{me.pid}-{me.start}-{secrets.token_hex(4)}"


def sweep(folder: Path) -> None:
    """Remove the temporary files in a folder, but for those of processes that run here.

    A process elsewhere whose file is removed while it writes starts that file again.
    """
    me = this_process()
    for name in _names(folder):
        writer = _writer(name)
        if not writer.place or writer.place != me.place or writer.is_gone:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith(TEMPORARY)]
    except OSError:
        return []


def _writer(name: str) -> Process:
    """Who wrote a temporary file; an unknown process where its name does not say."""
    place, _, rest = name.removeprefix(TEMPORARY).partition("-")
    pid, _, rest = rest.partition("-")
    if place and pid.isdecimal():
        return Process("", place, int(pid), rest.partition("-")[0])
    return Process("", "", 0, "")
