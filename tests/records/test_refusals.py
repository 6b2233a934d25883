"""What a rule cannot train, and why: from the plan of a suite to the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.benchmark.plan import expand
from bioplaus.benchmark.suite import parse_suite
from bioplaus.errors import RecordError
from bioplaus.experiments.experiment import configure
from bioplaus.records.merge import merge
from bioplaus.records.refusals import FILE, Refusal, add_refusals, read_refusals
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from bioplaus.reports.html import HtmlReport
from bioplaus.reports.overview import refused
from bioplaus.tasks.task import read_task
from tests.helpers.records import make_record

ONE = Refusal("toy", "itp", "layer 1 has no inverse")
OTHER = Refusal("toy", "z-il", "it <b>learns</b> nothing")


def test_a_suite_keeps_why_a_rule_cannot_train_a_task() -> None:
    text = 'name = "s"\nrules = ["backprop", "gaitprop"]\ntasks = ["digits-mlp"]\nseeds = 1\n'
    benchmark = expand(parse_suite(text, "s"), lambda task: False)
    reason = configure("gaitprop", read_task("digits-square"), {}).rule.supports(
        read_task("digits-mlp").build_network()
    )
    assert reason is not None and "square" in reason
    assert benchmark.refusals == [Refusal("digits-mlp", "gaitprop", reason)]
    assert [entry.rule for entry in benchmark.entries] == ["backprop"]


def test_refusals_stand_beside_records_until_there_is_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record())  # of backprop
    mended = Refusal("toy", "backprop", "as it was")
    add_refusals(tmp_path, [OTHER, ONE, mended])
    assert read_refusals(tmp_path) == [mended, ONE, OTHER]
    assert store.read_all().refusals == (ONE, OTHER)
    assert store.read_all(rules=["itp"]).refusals == (ONE,)
    assert store.read_all(tasks=["another"]).refusals == ()
    before = (tmp_path / FILE).stat().st_mtime_ns
    add_refusals(tmp_path, [ONE])
    assert (tmp_path / FILE).stat().st_mtime_ns == before
    add_refusals(tmp_path, [ONE._replace(reason="another")])
    assert read_refusals(tmp_path)[1].reason == "another"


def test_nothing_is_written_where_nothing_is_refused(tmp_path: Path) -> None:
    add_refusals(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2, "refusals": []}'])
def test_what_is_no_such_file_is_named_and_left(content: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record())
    (tmp_path / FILE).write_text(content)
    found = store.read_all()
    assert len(found.records) == 1 and FILE in found.damaged[0]
    with pytest.raises(RecordError, match=r"stays as it is: move it away"):
        add_refusals(tmp_path, [ONE])
    assert (tmp_path / FILE).read_text() == content


def test_folders_are_joined_with_their_refusals(tmp_path: Path) -> None:
    for name, refusal in (("a", ONE), ("b", OTHER)):
        Store(tmp_path / name).write(make_record())
        add_refusals(tmp_path / name, [refusal])
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert read_refusals(tmp_path / "all") == [ONE, OTHER]


def test_the_page_says_which_rule_cannot_train_what_and_why() -> None:
    records = [make_record(seed=s, rule=r) for r in ("backprop", "gaitprop") for s in range(2)]
    page = HtmlReport().render(ResultSet(records, refusals=[OTHER, ONE]))
    assert "What 2 of these rules cannot train, and why" in page
    assert "<strong>itp</strong> on toy: layer 1 has no inverse" in page
    assert "it &lt;b&gt;learns" in page and "<b>learns" not in page
    assert "cannot train, and why" not in HtmlReport().render(ResultSet(records))


def test_tasks_that_are_refused_for_one_reason_stand_together() -> None:
    found = refused([ONE, OTHER, ONE._replace(task="other")])
    assert found == [("itp", "other, toy", ONE.reason), ("z-il", "toy", OTHER.reason)]
