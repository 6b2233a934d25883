"""When the records were made, on the page's first screen."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

import bioplaus
from bioplaus.plugins import registry
from bioplaus.records.schema import Record, ResultSet
from bioplaus.records.store import Store
from tests.helpers.boards import GOOD, make_cell


def page(records: list[Record]) -> str:
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    text: str = registry.load("report", "html")().render(ResultSet(records))
    return text


def dated(record: Record, day: str) -> Record:
    return record.model_copy(update={"provenance": {**record.provenance, "date": day}})


def test_the_page_names_the_first_and_the_last_day() -> None:
    records = make_cell("a", GOOD)
    assert "5 records: the same data" in page(records), "older ones do not say"
    one = [dated(r, "2026-11-24") for r in records]
    assert "5 records of 2026-11-24: the same data" in page(one)
    other = [dated(r, f"2026-11-2{4 + r.seed // 2}") for r in records]
    assert "5 records of 2026-11-24 to 2026-11-26: the same data" in page(other)
    some = [*one[:2], *records[2:]]
    assert "5 records of 2026-11-24, 3 of them without a date: the same data" in page(some)


def test_a_run_writes_todays(tiny: Path, tmp_path: Path) -> None:
    before = datetime.datetime.now(datetime.UTC).date().isoformat()
    bioplaus.run("backprop", str(tiny), 1, results=tmp_path / "r")
    after = datetime.datetime.now(datetime.UTC).date().isoformat()
    (record,) = Store(tmp_path / "r").read_all().records
    assert before <= record.provenance["date"] <= after
