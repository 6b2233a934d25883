"""Early stopping, against curves of trainings that never stop, and evaluations that are few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import configure
from bioplaus.records.consistency import contradictions
from bioplaus.records.metric import ACCURACY, LOSS
from bioplaus.running.verify import verify
from bioplaus.system.interruption import Terminated, handled
from bioplaus.tasks.task import read_task
from bioplaus.training.budget import budget
from bioplaus.training.execution import Execution
from bioplaus.training.groups import prepared, train_groups
from bioplaus.training.kept import Stopping
from bioplaus.training.marking import Marking, Marks
from bioplaus.training.seed_outcome import Outcome
from bioplaus.training.trainer import Trainer
from tests.helpers.resuming import facts, run, stopping_after
from tests.helpers.tiny import TINY

CPU = torch.device("cpu")
SEEDS = [0, 1, 2]
EPOCHS = 8


def trained(path: Path, seeds: list[int] = SEEDS, epochs: int = EPOCHS, **task: Any) -> Trainer:
    settings = {f"task.{name}": value for name, value in task.items()}
    settings |= {"task.epochs": epochs, "optimizer.lr": 1e-1}
    experiment = configure("backprop", read_task(str(path)), settings, "fp64")
    data = experiment.task.load_data()
    (trainer,) = train_groups(experiment, data, seeds, Execution(CPU, "off"))
    return trainer


def by_hand(validation: list[float], patience: int) -> tuple[int, int | None]:
    """The epoch whose network is kept, and that in which it stopped, as one reads a curve."""
    best, kept = -1.0, 0
    for epoch, value in enumerate(validation, start=1):
        if value > best:
            best, kept = value, epoch
        if epoch - kept == patience:
            return kept, epoch
    return kept, None


@pytest.fixture
def whole(tiny: Path) -> list[Outcome]:
    """What becomes of the seeds that never stop."""
    return trained(tiny).outcomes


@pytest.mark.parametrize("patience", [1, 3])
def test_curves_are_those_of_the_whole_training_up_to_the_best(
    tiny: Path, whole: list[Outcome], patience: int
) -> None:
    early = trained(tiny, early_stopping={"patience": patience})
    ends = []
    for stopped, full in zip(early.outcomes, whole, strict=True):
        curve = [v for v in full.validation_accuracy if v is not None]
        kept, end = by_hand(curve, patience)
        assert stopped.validation_accuracy == curve[:kept]
        assert stopped.validation_after == curve[kept:end]
        assert stopped.stopped_epoch == end
        assert stopped.test_accuracy == full.test_accuracy[:kept]
        assert stopped.metrics["loss"] == full.metrics["loss"][:kept]
        assert stopped.alignment["loss"]["cosine.1"] == full.alignment["loss"]["cosine.1"][:kept]
        ends.append(end or EPOCHS)
    assert early.epochs_done == max(ends)


def test_the_network_is_that_of_the_best_epoch(tiny: Path) -> None:
    early = trained(tiny, early_stopping={"patience": 2})
    for i, outcome in enumerate(early.outcomes):
        short = trained(tiny, epochs=len(outcome.test_accuracy)).outcomes[i]
        for name, tensor in short.params.items():
            assert torch.equal(outcome.params[name], tensor)


def test_a_seed_stops_by_itself_whatever_trains_beside_it(tiny: Path) -> None:
    together = trained(tiny, early_stopping={"patience": 1}).outcomes
    for among in together:
        alone = trained(tiny, [among.seed], early_stopping={"patience": 1}).outcomes[0]
        assert alone.stopped_epoch == among.stopped_epoch
        assert alone.validation_accuracy == among.validation_accuracy
        assert alone.validation_after == among.validation_after
        for name, tensor in alone.params.items():
            torch.testing.assert_close(among.params[name], tensor, rtol=1e-9, atol=1e-11)


CURVES = [
    [0.5, 0.7, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6],
    [0.5, 0.6, 0.7, 0.8, 0.8, 0.9, 0.1, 0.1],
    [0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9],
]
"""Validation after each epoch, of three seeds: with a patience of two they stop after 4, 8, 3."""


def test_a_stopped_seed_that_explodes_later_has_not_diverged(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What becomes of its replica while the others go on is no fact of it."""
    epochs = iter(zip(*CURVES, strict=True))

    def marks(self: object, params: object, state: object) -> Marks:
        return {"validation_accuracy": list(next(epochs))}

    monkeypatch.setattr(Marking, "after_epoch", marks)
    task = read_task(str(tiny)).updated({"early_stopping.patience": 2, "epochs": EPOCHS})
    experiment = configure("backprop", task, {})
    splits = prepared(experiment, experiment.task.load_data(), CPU)
    trainer = Trainer(
        experiment.rule, experiment.network, splits, budget(experiment), SEEDS, probe=False
    )

    def explode(_: object) -> None:
        for i, outcome in enumerate(trainer.outcomes):
            if outcome.stopped_epoch:
                trainer.params["1.weight"][i] = torch.nan

    outcomes = trainer.train(explode)
    assert [o.stopped_epoch for o in outcomes] == [4, 8, 3]
    assert [o.validation_accuracy for o in outcomes] == [CURVES[0][:2], CURVES[1][:6], [0.9]]
    assert [o.validation_after for o in outcomes] == [[0.6, 0.6], [0.1, 0.1], [0.1, 0.1]]
    assert [o.diverged_epoch for o in outcomes] == [None] * 3
    for outcome in outcomes:
        assert all(tensor.isfinite().all() for tensor in outcome.params.values())


def test_fewer_evaluations_change_no_training(tiny: Path, whole: list[Outcome]) -> None:
    """Epochs 3, 6 and the last, 8: and what is not measured is null, not left out."""
    for seldom, each in zip(trained(tiny, evaluate_every=3).outcomes, whole, strict=True):
        for name, tensor in each.params.items():
            assert torch.equal(seldom.params[name], tensor)
        assert seldom.metrics["loss"] == each.metrics["loss"]
        pairs = [
            (seldom.test_accuracy, each.test_accuracy),
            (seldom.validation_accuracy, each.validation_accuracy),
            (seldom.alignment["loss"]["cosine.2"], each.alignment["loss"]["cosine.2"]),
        ]
        for few, all_of_them in pairs:
            measured = (3, 6, 8)
            assert few == [v if e in measured else None for e, v in enumerate(all_of_them, 1)]


def test_patience_counts_epochs_and_looks_where_it_is_evaluated(
    tiny: Path, whole: list[Outcome]
) -> None:
    early = trained(tiny, evaluate_every=2, early_stopping={"patience": 2}).outcomes
    for stopped, full in zip(early, whole, strict=True):
        kept, end = by_hand([v or 0.0 for v in full.validation_accuracy[1::2]], 1)
        assert len(stopped.test_accuracy) == 2 * kept
        assert stopped.stopped_epoch == (end and 2 * end)


def test_best_is_the_first_by_the_metric_and_of_what_is_known() -> None:
    assert Stopping(1, ACCURACY).best([0.5, None, 0.75, 0.75]) == 3
    assert Stopping(1, LOSS).best([None, 2.0, 1.0, 1.0]) == 3
    assert Stopping(1, ACCURACY).best([None, None]) is None


EARLY = """
evaluate_every = 2
early_stopping = { patience = 2 }

[optimizer]"""


def test_stopped_and_resumed_it_ends_with_the_same_bits(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in an epoch, after the best of one seed, and after one seed has stopped."""
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 600.0)
    tiny.write_text(TINY.replace("[optimizer]", EARLY, 1).replace("lr = 1e-3", "lr = 1e-1"))
    whole = run("backprop", tiny, tmp_path / "whole", epochs=20)
    ends = sorted(r.early_stop.stopped_epoch or 20 for r in whole.records if r.early_stop)
    assert len(ends) == 2
    moments = [7, 20, *([10 * ends[0] + 5] if ends[0] < ends[1] else [])]
    for steps in moments:
        with pytest.raises(Terminated), handled():
            run("backprop", tiny, tmp_path / "parts", epochs=20, observe=stopping_after(steps))
    parts = run("backprop", tiny, tmp_path / "parts", epochs=20)
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    assert parts.records[0].provenance["resumed_at_steps"] == moments
    assert parts.records[0].provenance["epochs_together"] == ends[1]
    assert verify(whole.records[0]).reproduces


def test_a_record_whose_stop_cannot_be_is_refused(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY.replace("[optimizer]", EARLY, 1))
    record = run("backprop", tiny, tmp_path / "r", epochs=4).records[0]
    assert contradictions(record) == [] and record.early_stop is not None
    later = record.early_stop
    changes: dict[str, Any] = {
        "does not say when": None,
        "not the best": later.model_copy(update={"validation_after": [None, 1.0]}),
        "its patience is 2": later.model_copy(
            update={"stopped_epoch": None, "validation_after": [None, 0.0, None, 0.0]}
        ),
    }
    for words, early_stop in changes.items():
        found = contradictions(record.model_copy(update={"early_stop": early_stop}))
        assert any(words in line for line in found), (words, found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"validation": 0}, "set validation"),
        ({"continual.kind": "permuted", "epochs": 10}, "data learned at once"),
    ],
)
def test_where_there_is_nothing_to_stop_by_it_is_said(
    tiny: Path, change: dict[str, object], words: str
) -> None:
    task = read_task(str(tiny)).updated({"early_stopping.patience": 1, **change})
    with pytest.raises(BioplausError, match=words):
        task.build_network()


def test_the_end_of_every_experience_is_evaluated(tiny: Path) -> None:
    changes = {"continual.kind": "permuted", "continual.experiences": 2, "epochs": 6}
    task = read_task(str(tiny)).updated({**changes, "evaluate_every": 2})
    with pytest.raises(BioplausError, match="misses the end of experiences of 3"):
        task.build_network()
    assert read_task(str(tiny)).updated({**changes, "evaluate_every": 3}).build_network()
