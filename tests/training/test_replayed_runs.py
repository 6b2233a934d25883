"""Whole trainings whose steps, evaluations and probes are captured and replayed, as on a GPU:
nothing that a task asks for is left behind in Python, where a replay would not see it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.experiments.experiment import configure
from bioplaus.tasks.task import Task, read_task
from bioplaus.training.budget import budget
from bioplaus.training.cuda_graph import WARM_UP
from bioplaus.training.groups import prepared
from bioplaus.training.step_drivers import InPlace
from bioplaus.training.stepper import Compile
from bioplaus.training.trainer import Trainer
from tests.helpers.accelerator import Recording, Replayed, needs_cuda, play_replays
from tests.helpers.normed import CONV, DENSE, HEAD
from tests.helpers.tiny import TINY, VARIED

STEPPED = TINY.replace(
    "epochs = 2",
    """epochs = 2
augment = { cutout = 3 }
schedule = { kind = "step", gamma = 0.5, every = 0.5 }""",
)
STOPPED = TINY.replace("epochs = 2", "epochs = 2\nearly_stopping = { patience = 1 }")
RMSPROP = VARIED.replace('name = "adam"', 'name = "rmsprop"\nmomentum = 0.5')
FILES = {
    "augmentation, and a cosine after a warm-up": ("gaitprop", VARIED),
    "feedback that learns by the schedule": ("kolen-pollack", VARIED),
    "half the rate, within an epoch; work on the host": ("weight-mirror", STEPPED),
    "batch normalisation and dropout, by SGD": ("backprop", HEAD + DENSE),
    "batch normalisation of channels": ("feedback-alignment", HEAD + CONV),
    "RMSprop, in both": ("targetprop", RMSPROP),
    "early stopping": ("predictive-coding", STOPPED),
    "noise": ("node-perturbation", TINY),
}
BUILT_IN = {
    "digits-conv": "local-losses",
    "digits-dag": "backprop",
    "digits-lstm": "feedback-alignment",
    "digits-permuted": "backprop",
    "digits-reconstruction": "targetprop",
    "digits-split-task": "direct-feedback-alignment",
    "digits-spiking": "e-prop",
    "digits-vae": "vae",
    "digits-views": "layerwise-ssl",
    "delayed-match-spiking": "backprop",
    "friedman-mlp": "backprop",
}


def trained(rule: str, task: Task, compile: Compile, device: torch.device) -> Trainer:
    experiment = configure(rule, task, {}, "fp64")
    splits = prepared(experiment, task.load_data(), device)
    trainer = Trainer(
        experiment.rule, experiment.network, splits, budget(experiment), [0, 3], compile
    )
    trainer.train()
    assert trainer.stepper.not_captured == []
    return trainer


def is_replayed(trainer: Trainer) -> bool:
    """Whether its steps were, and not evaluations alone."""
    driver = trainer.stepper._driver
    assert isinstance(driver, InPlace)
    steps = list(driver._captured.values())
    return bool(steps) and all(isinstance(s, Replayed) and s.is_captured for s in steps)


def check(rule: str, task: Task, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> int:
    """How many programs were replayed, in so many epochs that evaluations are captured, too."""
    task = task.updated({"epochs": WARM_UP + 2})
    plain = trained(rule, task, "off", device)
    if device.type == "cpu":
        play_replays(monkeypatch)
    replayed = trained(rule, task, "auto", device)
    assert device.type == "cuda" or is_replayed(replayed)
    for ours, theirs in zip(replayed.outcomes, plain.outcomes, strict=True):
        assert ours.params and ours.params.keys() == theirs.params.keys()
        # rates are in single precision where a captured step reads them
        for name, tensor in theirs.params.items():
            torch.testing.assert_close(ours.params[name], tensor, rtol=1e-5, atol=1e-7, msg=name)
        for (name, curve), (_, expected) in zip(ours.curves(), theirs.curves(), strict=True):
            numbers = [[-1.0 if x is None else x for x in each] for each in (curve, expected)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-6), name
    return Replayed.captured


@pytest.fixture(params=["played", pytest.param("cuda", marks=needs_cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device("cpu" if request.param == "played" else "cuda")


@pytest.mark.parametrize("what", FILES)
def test_what_a_file_asks_for(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    rule, text = FILES[what]
    path = tmp_path / "task.toml"
    path.write_text(text)
    programs = check(rule, read_task(str(path)), monkeypatch, device)
    assert device.type == "cuda" or programs == 3, "a step, an evaluation and a probe"


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_tasks(name: str, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    task = read_task(name)
    if task.continual is None:
        task = task.updated({"train_examples": 6 * task.batch_size})
    check(BUILT_IN[name], task, monkeypatch, device)


def test_a_recording_does_not_see_what_python_does() -> None:
    """The player itself: numbers of the host are those of the recording, and waiting is refused."""
    rate, total = [1.0], torch.zeros(())
    with Recording() as recording:
        total.add_(rate[0])
    rate[0] = 5.0
    recording.replay()
    assert total == 2
    for waits in (
        lambda: total.item(),
        lambda: torch.linalg.solve(torch.eye(2), torch.eye(2)),
        lambda: torch.eye(2)[torch.eye(2) > 0],
    ):
        with pytest.raises(RuntimeError, match="capturing"), Recording():
            waits()
