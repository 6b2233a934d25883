"""`bioplaus show-activity`: a picture of one example's spikes, and words for wrong use."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from bioplaus.axes.one_example import one_example
from bioplaus.axes.raster import draw
from bioplaus.learning.prediction import predicted_alone
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running import weights
from bioplaus.running.verify import experiment_of
from bioplaus.training.groups import prepared
from tests.helpers.command import call
from tests.helpers.training import train

SPIKING = """
name = "tiny-spiking"
dataset = "digits"
validation = 0
loss = "mse"
batch_size = 100
epochs = 1
[optimizer]
name = "adam"
[network]
init = "lecun_normal"
gain = 1.4
steps = 6
layers = [
    { type = "encode", how = "bernoulli", in_predictions = true },
    { units = 30, bias = false, neuron = { decay = 0.75, threshold = 0.5, \
adaptation = 0.1, adaptation_decay = 0.9 } },
    { units = 10, bias = false, neuron = { decay = 0.75, threshold = 0.5 }, delay = 1 },
    { type = "readout" },
]
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.tiny import TINY

    folder = tmp_path_factory.mktemp("activity")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "spiking.toml").write_text(SPIKING)
    for name in ("tiny", "spiking"):
        train(folder / f"{name}.toml", folder / "r", "backprop", seeds=[1], compile="off",
              save_weights=True)  # fmt: skip
    return folder / "r"


def spiking_record(results: Path) -> Record:
    return next(r for r in Store(results).read_all().records if r.task == "tiny-spiking")


def test_what_is_shown_is_the_evaluations_forward_pass(results: Path) -> None:
    """An example's answer is the one that the record's accuracy counts, with the same noise."""
    store, record = Store(results), spiking_record(results)
    experiment, data = experiment_of(record)
    test = prepared(experiment, data, torch.device("cpu")).test
    path = store.path(record.task, record.rule, record.cell, 1)
    found = weights.load(path, experiment.rule)
    assert found is not None and test is not None
    net, state = experiment.network, found.state
    answers = predicted_alone(experiment.rule, net, found.params, state, test.x, 1)
    right = (answers.argmax(1) == test.y).double().mean().item()
    assert record.test_accuracy == right
    for index in range(0, len(test), 60):
        example = one_example(store, record, index, lambda e, p: None)
        assert np.allclose(example.answers, answers[index])
        assert example.label == test.y[index]
        assert [layer.name for layer in example.layers] == [
            "input", "layer 2, dense", "layer 3, dense",
        ]  # fmt: skip
        first, hidden, top = example.layers
        assert first.potentials is None and first.spikes.shape == (6, 64)
        for layer in (hidden, top):
            reached = layer.potentials >= layer.thresholds
            assert np.array_equal(reached, layer.spikes == 1)  # it fires there
        assert top.thresholds == hidden.thresholds.min() == 0.5 < hidden.thresholds.max()
        assert np.allclose(top.spikes.mean(0), example.answers)
        assert example.spikes == sum(layer.spikes.sum() for layer in example.layers)
        assert example.image is not None and example.image.shape == (8, 8)
        rate = first.spikes.mean(0)
        assert (rate[example.image.ravel() == 0] == 0).all()


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_picture_comes_out(results: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    path = tmp_path / f"a.{kind}"
    done = call("show-activity", "--results", str(results), "--example", "2", "-o", str(path))
    assert done.exit_code == 0, done.output
    assert "layer 3, dense" in done.stdout and "synaptic operations" in done.stdout
    assert "backprop on tiny-spiking, seed 1, example 2" in done.stderr
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") if kind == "png" else b"</svg>" in data


def test_every_spike_is_drawn_where_it_was(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    from matplotlib.figure import Figure

    saved: list[Figure] = []
    example = one_example(Store(results), spiking_record(results), 0, lambda e, p: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *a, **k: saved.append(self))
        draw(example, str(tmp_path / "a.svg"), 2)
    panels = saved[0].axes
    assert len(panels) == 6
    for layer, panel in zip(example.layers, panels[::2], strict=True):
        marks = panel.collections[0].get_offsets()
        there = {(int(step) - 1, int(unit)) for step, unit in np.asarray(marks)}
        assert there == set(zip(*map(np.ndarray.tolist, np.nonzero(layer.spikes)), strict=True))
    assert len(panels[3].get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "tiny"], "no record of a spiking network in .* for --task tiny; `bioplaus run"),
        (["--rule", "nobody"], "no record of a spiking network"),
        (["--example", "5000"], "there is no example 5000: the test split has 360, from 0"),
        (["-o", "a.gif"], r"its name must end with \.svg, \.png, \.pdf"),
        (["-o", "nowhere/a.svg"], "there is no folder nowhere"),
        (["--units", "0"], "units"),
    ],
)
def test_wrong_use_is_one_line(results: Path, arguments: list[str], said: str) -> None:
    import re

    done = call("show-activity", "--results", str(results), *arguments)
    assert done.exit_code != 0 and re.search(said, done.output), done.output
    assert "Traceback" not in done.output


def test_without_the_extra_it_says_which(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else there(name)
    )
    done = call("show-activity", "--results", str(results))
    assert done.exit_code == 1
    assert "show-activity needs matplotlib: pip install 'bioplaus[plot]'" in done.output
