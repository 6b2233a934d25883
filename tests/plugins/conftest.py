"""A rule in a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.plugins import registry
from bioplaus.scaffold import write_package


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test takes from a file is gone after it."""
    monkeypatch.setattr(registry, "_FROM_FILES", {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a rule called my-rule."""
    write_package("rule", "my-rule", tmp_path)
    return tmp_path / "my-rule" / "bioplaus_my_rule.py"
