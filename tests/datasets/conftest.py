"""No test of a data set reaches the network or the user's own folders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import platformdirs
import pytest
import torchvision  # type: ignore[import-untyped,unused-ignore]

from tests.helpers.idx_files import FILES, Downloads, Tiny


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Downloads:
    """No test reaches the network or the user's own folders."""
    fake = Downloads()
    source = SimpleNamespace(mirrors=["a://x/", "b://y/"], resources=[(n, "") for n in FILES])
    monkeypatch.setattr("torchvision.datasets.utils.download_url", fake)
    monkeypatch.setattr(torchvision.datasets, "Tiny", source, raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app: tmp_path / "cache" / app)
    monkeypatch.setattr(Tiny, "system_folder", tmp_path / "system" / "tiny")
    monkeypatch.setenv("BIOPLAUS_DATA", str(tmp_path / "data"))
    return fake


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Where Tiny is looked for, in order."""
    cache = tmp_path / "cache" / "bioplaus" / "datasets" / "tiny"
    return [tmp_path / "data" / "tiny", cache, tmp_path / "system" / "tiny"]
