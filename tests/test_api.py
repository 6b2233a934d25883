"""The Python API: a tidy frame of what was run."""

from __future__ import annotations

from pathlib import Path

import pytest

import bioplaus
from bioplaus.errors import ConfigError


def test_the_library_returns_a_tidy_frame(tiny: Path, tmp_path: Path) -> None:
    frame = bioplaus.run(["gaitprop", "backprop"], str(tiny), seeds=2, results=tmp_path / "r")
    assert list(frame["rule"]) == ["backprop", "backprop", "gaitprop", "gaitprop"]
    assert list(frame["seed"]) == [0, 1, 0, 1]
    assert frame["test_accuracy"].between(0, 1).all()
    assert frame.attrs["problems"] == []
    with pytest.raises(ConfigError, match="seeds are a number or a list of whole numbers"):
        bioplaus.run("gaitprop", str(tiny), seeds=[-1], results=tmp_path / "r")
