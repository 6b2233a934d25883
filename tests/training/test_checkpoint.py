"""Checkpoints: the last two, sound, and seldom enough."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.training.checkpoint import Checkpoints, Tensors, read


def at(step: int) -> Tensors:
    return {"step": torch.tensor(step), "weights": torch.full((3,), float(step))}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_are_kept_and_a_damaged_one_falls_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"a": 1})
    assert checkpoints.latest() is None
    for step in (1, 2, 10):
        checkpoints.save(at(step))
    assert len(files(tmp_path)) == 2
    found = checkpoints.latest()
    assert found is not None and found["weights"].tolist() == [10.0] * 3
    last = tmp_path / files(tmp_path)[-1]
    content = last.read_bytes()
    for damaged in (content[:-1], content[:50], b"", content[:99] + b"?" + content[100:]):
        last.write_bytes(damaged)
        assert read(last) is None
    found = checkpoints.latest()
    assert found is not None and found["step"] == 2
    assert not last.exists()


def test_checkpoints_of_another_training_are_not_taken(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"seeds": [0, 1]}).save(at(1))
    assert Checkpoints(tmp_path, {"seeds": [0]}).latest() is None


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"step": torch.tensor(1), "evil": Evil()}, buffer)
    path = tmp_path / "planted.pt"
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    assert read(path) is None
    assert files(tmp_path) == ["planted.pt"]


def test_writing_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write of one second: none at the end of an epoch for 20 s, none within one for 60 s."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, {})
    assert checkpoints.due(epoch_ended=True) and not checkpoints.due(epoch_ended=False)
    monkeypatch.setattr(os, "fsync", lambda file: now.__setitem__(0, now[0] + 1.0))
    checkpoints.save(at(1))
    for passed, ended, within in ((19.9, False, False), (20.1, True, False), (60.1, True, True)):
        now[0] = 1.0 + passed
        assert (checkpoints.due(True), checkpoints.due(False)) == (ended, within)
