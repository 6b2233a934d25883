"""Data sets in files of their own: where they are looked for, and how they are fetched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from bioplaus.errors import DataError, shown
from bioplaus.tasks.dataset import Dataset, Split, SplitName

REMEDY = "replace it, delete the folder to download again, or point BIOPLAUS_DATA elsewhere"


class FileDataset(Dataset):
    """A set in a few files, found on this machine or downloaded once.

    The files are looked for in `$BIOPLAUS_DATA/<name>`, in the user cache and in
    `system_folder`. The first of them that holds any of the files is used and never
    written to; where none does, they are downloaded into the user cache.
    """

    files: ClassVar[Mapping[SplitName, Sequence[str]]]
    contents: ClassVar[str]
    """What the files are, for a reader who has to put them in place."""
    system_folder: ClassVar[Path | None] = None

    def load(self, split: SplitName) -> Split:
        """x: uint8, (N, *shape); y: int64, (N,); DataError where files are missing or damaged."""
        return self._read(self._find() or self._download(), split)

    @property
    def place(self) -> str:
        """The folder's name; sets whose files come together share one."""
        return self.name

    @abstractmethod
    def _read(self, folder: Path, split: SplitName) -> Split:
        """The split in the files of a folder, verified."""

    @abstractmethod
    def _fetch(self, folder: Path) -> None:
        """Downloads all files into a new folder."""

    def _names(self) -> list[str]:
        return [name for names in self.files.values() for name in names]

    def _places(self) -> list[Path]:
        supplied = os.environ.get("BIOPLAUS_DATA")
        first = [Path(os.path.expanduser(supplied)) / self.place] if supplied else []
        return [*first, self._cache(), *([self.system_folder] if self.system_folder else [])]

    def _cache(self) -> Path:
        from platformdirs import user_cache_path

        return user_cache_path("bioplaus") / "datasets" / self.place

    def _find(self) -> Path | None:
        for place in self._places():
            missing = [name for name in self._names() if not os.path.isfile(place / name)]
            if not missing:
                return place
            if len(missing) < len(self._names()):
                raise DataError(f"{place} lacks {', '.join(missing)}; {REMEDY}")
        return None

    def _instead(self) -> str:
        """The files' names, and what lies where they are looked for, for who put them there."""
        said = f". The files are {', '.join(self._names())}"
        supplied = os.environ.get("BIOPLAUS_DATA")
        if not supplied:
            return said
        folder = Path(os.path.expanduser(supplied))
        if not folder.is_dir():
            return f"{said}; BIOPLAUS_DATA is {folder}, which is no folder"
        for place in (folder / self.place, folder):
            if there := _listed(place):
                return f"{said}; what lies in {place} is {there}"
        return f"{said}; {folder} is empty"

    def _download(self) -> Path:
        target = self._cache()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Renamed as a whole once verified: an interruption leaves no half-filled folder.
            with tempfile.TemporaryDirectory(prefix=f".{self.place}-", dir=target.parent) as parent:
                fresh = Path(parent, self.place)
                self._fetch(fresh)
                for split in self.files:
                    self._read(fresh, split)
                publish(fresh, target, self._names())
        except (OSError, RuntimeError, ImportError, DataError) as error:
            places = ", ".join(map(str, self._places()))
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.name} is not in {places} and could not be downloaded ({reason}); "
                f"put {self.contents} into DIR/{self.place} and set BIOPLAUS_DATA=DIR"
                f"{self._instead()}"
            ) from error
        return target


def _listed(folder: Path) -> str:
    """The names in a folder, some of them where there are many; '' for nothing."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    return ", ".join(shown(name, 60) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def damaged(path: Path | str, what: str, remedy: str = REMEDY) -> DataError:
    """The error that says which file is wrong, how, and what to do."""
    return DataError(f"{path} {what}; {remedy}")


def md5_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of(path: Path) -> str:
    """The same by SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_file(mirrors: Sequence[str], name: str, md5: str, folder: Path) -> None:
    """Downloads one file from the first mirror that gives it; DataError where none does."""
    failures = []
    for mirror in mirrors:
        try:
            download_file(mirror + name, name, md5, folder)
            return
        except (OSError, HTTPException, RuntimeError) as error:
            failures.append(f"{mirror}{name}: {error}")
    raise DataError("; ".join(failures))


def download_file(url: str, name: str, md5: str, folder: Path) -> None:
    """Downloads a file under that name, and says so; OSError, HTTPException or RuntimeError."""
    from torchvision.datasets import utils  # type: ignore[import-untyped,unused-ignore]

    print(f"Downloading {url} ...", file=sys.stderr, flush=True)
    with contextlib.redirect_stdout(sys.stderr), socket_timeout():
        utils.download_url(url, str(folder), name, md5)


def publish(fresh: Path, target: Path, names: Iterable[str]) -> None:
    """Renames the folder, unless another process has put the same files there meanwhile."""
    try:
        fresh.rename(target)
    except OSError:
        if not all(os.path.isfile(target / name) for name in names):
            raise


@contextlib.contextmanager
def socket_timeout(seconds: float = 30.0) -> Iterator[None]:
    """torchvision sets no timeout: where a firewall drops packets it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
