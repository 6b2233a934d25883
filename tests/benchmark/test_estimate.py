"""How long a benchmark will take: from records, or unknown."""

from __future__ import annotations

from pathlib import Path

from bioplaus.benchmark.estimate import in_words, seconds, speeds
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
    known = speeds([record])
    assert known == {("tiny", "backprop"): 0.5}
    # 2 trials of 1 seed and 1 epoch, then 2 seeds of 1 epoch
    assert [seconds(item, known) for item in lefts] == [0.5 * (2 + 2), None]
    none = Curves(metrics={}, validation_accuracy=[], test_accuracy=[], alignment={})
    empty = record.model_copy(update={"curves": none})
    assert speeds([empty]) == {}
    assert [in_words(s) for s in (0.2, 42.4, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]
