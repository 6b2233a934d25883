"""A board on which one rule stands alone."""

from __future__ import annotations

import pytest

from bioplaus.plugins import registry
from bioplaus.records.schema import ResultSet
from tests.helpers.boards import GOOD, make_cell

pytest.importorskip("jinja2", reason="the extra `report` is not installed")


def test_a_rule_alone_is_ahead_of_nobody() -> None:
    page = registry.load("report", "html")().render(ResultSet(make_cell("good", GOOD)))
    assert "is ahead of every other rule" not in page
    assert "alone has a place" in page
