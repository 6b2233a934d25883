"""CKA, participation ratio and probes against what they must be; calibration by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.axes.by_name import configured
from bioplaus.axes.calibration import calibration_error
from bioplaus.axes.measuring import Measuring
from bioplaus.axes.representation import cka, participation_ratio, probe
from bioplaus.numerics.random_streams import Stream
from bioplaus.records.store import Store
from tests.helpers.training import CPU, train


@pytest.mark.parametrize("seed", range(10))
def test_cka_sees_no_rotation_scale_or_shift(seed: int) -> None:
    """T-REP-1."""
    stream = Stream(seed)
    a = stream.at("a").normal((50, 12))
    turned = 3 * a @ stream.at("q").orthogonal(12, 12) + stream.at("c").normal((12,))
    assert cka(a, turned) == pytest.approx(1.0, abs=1e-12)
    assert cka(a, stream.at("b").normal((50, 12))) < 0.7


@pytest.mark.parametrize("seed", range(10))
def test_the_participation_ratio_counts_directions(seed: int) -> None:
    """T-REP-1: D of whitened data, 1 of one direction; either Gram matrix gives it."""
    stream = Stream(seed)
    a = stream.at("a").normal((80, 9))
    centred = a - a.mean(0)
    white, _ = torch.linalg.qr(centred)
    assert participation_ratio(white) == pytest.approx(9.0, abs=1e-12)
    one = stream.at("t").normal((40, 1)) @ stream.at("d").normal((1, 7))
    assert participation_ratio(one) == pytest.approx(1.0, abs=1e-12)
    wide = stream.at("w").normal((6, 30))
    lam = torch.linalg.eigvalsh(torch.cov(wide.T))
    assert participation_ratio(wide) == pytest.approx(float(lam.sum() ** 2 / lam.square().sum()))
    assert participation_ratio(torch.ones(5, 3)) == 0.0


def test_a_probe_finds_what_is_linear_and_only_that() -> None:
    x = Stream(0).normal((600, 5))
    linear = (x[:, 0] > 0).long()
    parity = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()
    on = [x[:200], x[200:400], x[400:]]
    for y, low, high in ((linear, 0.95, 1.0), (parity, 0.0, 0.65)):
        found = probe(on, [y[:200], y[200:400], y[400:]], (1e-3, 1e-1))
        assert low <= found <= high


def test_calibration_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.85, 0.55, 0.45], dtype=torch.float64)
    right = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    # two bins: |(1 - .95) + (0 - .85) + (1 - .55)| and |1 - .45|, by four
    assert float(calibration_error(confidence, right, 2)) == pytest.approx((0.35 + 0.55) / 4)
    sure = torch.ones(3, dtype=torch.float64)
    assert float(calibration_error(sure, sure, 15)) == 0.0
    assert float(calibration_error(sure, 0 * sure, 15)) == 1.0


def test_both_axes_of_trained_networks(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    train(tiny, folder, "backprop", "feedback-alignment", save_weights=True, seeds=[0],
          compile="off")  # fmt: skip
    store = Store(folder)
    found = store.read_all()
    axis = configured("representation", {"examples": 100, "test_examples": 60, "l2": [0.1]})
    done = Measuring(axis, store, found, CPU).run(found.records)
    assert done.problems == []
    by_rule = {m.rule: m for m in done.measurements}
    own = by_rule["backprop"].values["cka"]
    assert isinstance(own, list) and own == [pytest.approx(1.0, abs=1e-9)]
    other = by_rule["feedback-alignment"].values["cka"]
    assert isinstance(other, list) and other[0] is not None and 0 < other[0] < 1
    done = Measuring(configured("calibration"), store, found, CPU).run(found.records)
    for item in done.measurements:
        record = next(r for r in found.records if r.key == item.record)
        assert item.values["accuracy"] == pytest.approx(record.test_accuracy)
