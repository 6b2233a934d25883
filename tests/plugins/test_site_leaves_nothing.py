"""What one test installs is gone in the next: the module, its entry points, its tasks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bioplaus import tasks
from bioplaus.plugins import registry
from tests.helpers.strangers import install


@pytest.mark.parametrize("said", ["first", "second"])
def test_each_installs_its_own(said: str, site: Path) -> None:
    assert "leaking" not in sys.modules
    install(site, "leaking_info", "", "leak = leaking", "bioplaus.tasks")
    (site / "leaking").mkdir()
    (site / "leaking" / "__init__.py").touch()
    (site / "leaking" / "leak.toml").write_text(f'name = "leak"\ndescription = "{said}"')
    assert "leak" in tasks.names() and tasks.description("leak") == said
    assert "leaking" in sys.modules


def test_and_nothing_of_it_is_left() -> None:
    assert "leaking" not in sys.modules
    assert "leak" not in tasks.names() and "leak" not in registry.names("task")
