"""Files written whole: the first wins, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bioplaus.system.atomic_files import create


def test_a_temporary_file_that_is_swept_meanwhile_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = os.link, []

    def link(source: str, target: Path) -> None:
        if not seen:
            os.unlink(source)
        seen.append(source)
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert create(tmp_path / "folder" / "file", b"content") and len(seen) == 2
    assert not create(tmp_path / "folder" / "file", b"other")
    assert os.listdir(tmp_path / "folder") == ["file"]
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"
