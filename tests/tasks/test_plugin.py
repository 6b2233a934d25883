"""Tasks as plugins."""

from __future__ import annotations

import pytest

from bioplaus import tasks
from bioplaus.plugins import registry
from tests.helpers.command import call


def test_a_task_plugin_without_its_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(registry.Plugin("task", "lost", "bioplaus.suites_of_nobody", "lost 1.0"))
    assert "broken: the task 'lost' from lost 1.0" in tasks.description("lost")
    assert call("list", "tasks").exit_code == 0
