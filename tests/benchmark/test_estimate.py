"""How long a benchmark will take: from records, or unknown."""

from __future__ import annotations

from pathlib import Path

from bioplaus.benchmark.estimate import cell_of, in_words, seconds, speeds
from bioplaus.benchmark.plan import Place, expand, left
from bioplaus.benchmark.suite import read_suite
from bioplaus.records.schema import Curves
from bioplaus.records.store import Store
from tests.helpers.benches import suite_file
from tests.helpers.records import make_record


def test_the_estimate_comes_from_records_or_is_unknown(tiny: Path, tmp_path: Path) -> None:
    place = Place(Store(tmp_path / "r"))
    lefts = left(expand(read_suite(str(suite_file(tiny)))), place)
    # 4 epochs of a lone seed in 2 s: 0.5 s an epoch
    record = make_record(task="tiny", rule="backprop", epochs=4, seconds=2.0)
    task = lefts[0].entry.base.task.content()
    record = record.model_copy(update={"configuration": {"task": task}})
    known = speeds([record])
    assert known == {cell_of(lefts[0].entry): 0.5}
    # 2 trials of 1 seed and 1 epoch, then 2 seeds of 1 epoch
    assert [seconds(item, known) for item in lefts] == [0.5 * (2 + 2), None]
    none = Curves(metrics={}, validation_accuracy=[], test_accuracy=[], alignment={})
    empty = record.model_copy(update={"curves": none})
    assert speeds([empty]) == {}
    assert [in_words(s) for s in (0.2, 42.4, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]


def test_a_speed_is_of_one_size_of_network(tiny: Path, tmp_path: Path) -> None:
    """A record of two layers says nothing of thirty-two."""
    suite = suite_file(tiny)
    suite.write_text(suite.read_text() + "\n[sweep]\ndepth = [2, 32]\n")
    lefts = left(expand(read_suite(str(suite))), Place(Store(tmp_path / "r")))
    shallow, deep = (item for item in lefts if item.entry.rule == "backprop")
    record = make_record(task="tiny", rule="backprop", epochs=4, seconds=2.0)
    configuration = {"task": shallow.entry.base.task.content()}
    known = speeds([record.model_copy(update={"configuration": configuration})])
    assert seconds(shallow, known) and seconds(deep, known) is None
