"""Runs with batch normalisation: resumed, kept, measured and verified with their statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bioplaus
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.experiments.experiment import configure, plan
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.running.verify import verify
from bioplaus.running.weights import load
from bioplaus.system.interruption import Terminated, handled
from bioplaus.tasks.task import read_task
from tests.helpers.resuming import facts, run, stopping_after
from tests.helpers.tiny import TINY
from tests.helpers.training import train

NORMED = """layers = [
    { type = "dense", units = 16 },
    { type = "batch_norm", activation = "tanh" },
"""
STATISTICS = {"2.running_mean", "2.running_var"}


@pytest.fixture
def normed(tiny: Path) -> Path:
    tiny.write_text(TINY.replace("layers = [\n", NORMED))
    return tiny


@pytest.mark.parametrize("rule", ["backprop", "kolen-pollack"])
def test_resumed_it_ends_with_the_same_bits(
    rule: str, normed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 600.0)
    whole = run(rule, normed, tmp_path / "whole", save_weights=True)
    for steps in (3, 10):  # within an epoch of 10, and at its end
        with pytest.raises(Terminated), handled():
            parts = tmp_path / "parts"
            run(rule, normed, parts, save_weights=True, observe=stopping_after(steps))
    parts = run(rule, normed, tmp_path / "parts", save_weights=True)
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    one, other = (sorted((tmp_path / f).rglob("*.pt")) for f in ("whole", "parts"))
    assert len(one) == len(other) == 2
    for a, b in zip(one, other, strict=True):
        ours, theirs = (torch.load(file, weights_only=True) for file in (a, b))
        assert ours.keys() == theirs.keys() >= STATISTICS
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_kept_answer_as_the_record_says(normed: Path, tmp_path: Path) -> None:
    """Each example for itself, by running statistics: the accuracy is one answer at a time's."""
    folder = tmp_path / "r"
    done = train(normed, folder, "backprop", seeds=[0], save_weights=True)
    assert not done.problems
    (record,) = done.records
    store = Store(folder)
    experiment = plan(["backprop"], str(normed))[0]
    found = load(store.path(record.task, record.rule, record.cell, 0), experiment.rule)
    assert found is not None and found.params.keys() >= STATISTICS
    data = experiment.task.load_data()
    net = experiment.network
    x = data.test.x.flatten(1).float() * data.scale
    answers = torch.cat([net.output(found.params, row[None]) for row in x[:40]])
    torch.testing.assert_close(answers, net.output(found.params, x)[:40])
    guessed = net.output(found.params, x)[:, : net.classes].argmax(1)
    right = (guessed == data.test.y).double().mean()
    assert record.test_accuracy == pytest.approx(float(right), abs=1e-12)
    frame = bioplaus.measure("calibration", folder)
    assert not frame.attrs["problems"] and len(frame)
    assert verify(record).reproduces


def test_rules_that_may_train_it_and_the_others_say_why(normed: Path, tmp_path: Path) -> None:
    done = train(
        normed, tmp_path / "r", "backprop", "feedback-alignment", "sign-symmetry", seeds=[0],
        epochs=8, settings={"optimizer.name": "adam", "optimizer.lr": 1e-2},
    )  # fmt: skip
    assert not done.problems
    for record in done.records:
        first, *_, last = record.curves.metrics["loss"]
        assert first is not None and last is not None and last < 0.8 * first
    by_rule = {record.rule: record.curves.alignment["loss"] for record in done.records}
    for l in (1, 2, 3):  # measured by running statistics, of the update and of the gradient
        cosine = by_rule["backprop"][f"cosine.{l}"][-1]
        assert cosine == pytest.approx(1, abs=1e-5)
    net = read_task(str(normed)).build_network()
    may = set()
    for name in registry.names("rule"):
        rule = registry.load("rule", name).configured()
        reason = rule.supports(net)
        if rule.mixes_examples:
            may.add(name)
            assert reason is None or "normalises" not in reason, name
        else:
            assert reason is not None, name
    assert {"backprop", "feedback-alignment", "kolen-pollack", "weight-mirror"} <= may
    with pytest.raises(BioplausError, match="layer 2 normalises over the batch"):
        plan(["predictive-coding"], str(normed))


def test_what_cannot_be_is_refused(normed: Path) -> None:
    with pytest.raises(ConfigError, match="layer 2 normalises over the batch, and a batch of 1"):
        plan(["backprop"], str(normed), settings={"task.batch_size": 1})
    text = normed.read_text()
    normed.write_text(text.replace('"batch_norm",', '"batch_norm", momentum = 0,'))
    with pytest.raises(ConfigError, match="momentum"):
        read_task(str(normed))


def test_a_batch_of_one_image_has_places_enough(tiny: Path) -> None:
    tiny.write_text(
        TINY.partition("layers = [")[0].replace("batch_size = 50", "batch_size = 1")
        + 'layers = [{ type = "conv2d", channels = 2, kernel = 3 }, { type = "batch_norm" }, '
        '{ type = "flatten" }, { units = 10 }]\n'
    )
    assert configure("backprop", read_task(str(tiny)), {}).network.depth == 4
