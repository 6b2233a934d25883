"""A benchmark that one process ran alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.benches import suite_file
from tests.helpers.shared_folder import MANY, share
from tests.helpers.tiny import TINY


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite, and the results of one process that ran it."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "tiny.toml").write_text(TINY)
    suite = suite_file(folder / "tiny.toml", MANY)
    assert share(suite, folder / "r", folder / "log", 1) == {0: 1}
    return suite, folder / "r"
