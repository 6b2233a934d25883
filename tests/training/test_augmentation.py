"""Augmented images against loops over pixels; the same for every rule, and resumed to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import configure
from bioplaus.system.interruption import Terminated, handled
from bioplaus.tasks.augment import Augment
from bioplaus.tasks.task import read_task
from bioplaus.training.augmentation import augmented, normalised
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.stepper import Stepper
from tests.helpers.accelerator import DEVICES, needs_cuda
from tests.helpers.resuming import facts, run, stopping_after
from tests.helpers.tiny import TINY, VARIED

HOW = [
    Augment(pad=2),
    Augment(flip=True),
    Augment(cutout=3),
    Augment(pad=1, flip=True, cutout=2),
]


def by_hand(image: Tensor, drawn: Tensor, how: Augment) -> Tensor:
    """A padded copy, a window of it, a flip, a square: pixel by pixel."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * how.pad, width + 2 * how.pad)
    padded[:, how.pad : how.pad + height, how.pad : how.pad + width] = image
    down, across = (int(u * (2 * how.pad + 1)) for u in drawn[:2].tolist())
    seen = padded[:, down : down + height, across : across + width].clone()
    if how.flip and drawn[2] < 0.5:
        seen = seen.flip(-1)
    if how.cutout:
        row, column = int(drawn[3] * height), int(drawn[4] * width)
        for y in range(height):
            for x in range(width):
                first = row - how.cutout // 2, column - how.cutout // 2
                if 0 <= y - first[0] < how.cutout and 0 <= x - first[1] < how.cutout:
                    seen[:, y, x] = 0
    return seen


@pytest.mark.parametrize("how", HOW, ids=str)
def test_every_pixel_comes_from_where_it_should(how: Augment) -> None:
    torch.manual_seed(0)
    images, drawn = torch.rand(40, 3, 6, 5), torch.rand(40, 5)
    drawn[0], drawn[1] = 0.0, torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    found = augmented(images, drawn, how)
    expected = torch.stack([by_hand(*pair, how) for pair in zip(images, drawn, strict=True)])
    assert torch.equal(found, expected)
    assert not torch.equal(found, images), "something is changed"


def test_a_number_rounded_up_to_1_stays_inside() -> None:
    ones = torch.ones(2, 5)
    images = torch.rand(2, 1, 4, 4)
    found = augmented(images, ones, Augment(pad=1, cutout=1))
    assert torch.equal(found[:, :, :3, :3], images[:, :, 1:, 1:]), "the last window there is"


def test_channels_are_normalised_by_the_training_examples() -> None:
    torch.manual_seed(0)
    train = torch.rand(50, 3, 4, 4, dtype=torch.float64) * torch.tensor([1.0, 5, 0])[:, None, None]
    test = torch.rand(9, 3, 4, 4, dtype=torch.float64)
    own = normalised(train, train, (3, 4, 4))
    assert own.mean((0, 2, 3)) == pytest.approx([0, 0, 0], abs=1e-12)
    assert own.std((0, 2, 3), correction=0) == pytest.approx([1, 1, 0], abs=1e-12)
    mean, spread = train.mean((0, 2, 3)), train.std((0, 2, 3), correction=0)
    other = normalised(test.flatten(1), train.flatten(1), (3, 4, 4)).reshape(test.shape)
    expected = (test - mean[:, None, None])[:, :2] / spread[:2, None, None]
    torch.testing.assert_close(other[:, :2], expected)


def shown(
    rule: str, seeds: list[int], path: Path, number: int, device: str, text: str = VARIED
) -> Tensor:
    """What each seed's replica is given at a step, (R, N, ...)."""
    path.write_text(text)
    experiment = configure(rule, read_task(str(path)), {}, "fp32")
    data = experiment.task.load_training_data()
    train = prepared(experiment, data, torch.device(device)).train
    stepper = Stepper(experiment.rule, experiment.network, train, budget(experiment), seeds)
    index = torch.arange(50, device=device).expand(len(seeds), 50)
    return stepper._shown(*stepper.gather(index), torch.tensor(number, device=device)).x


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_images_under_every_rule_and_beside_any_seed(device: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    first = shown("backprop", [0, 1, 2], path, 7, device)
    assert torch.equal(first, shown("targetprop", [0, 1, 2], path, 7, device))
    assert torch.equal(first[2], shown("gaitprop", [5, 2], path, 7, device)[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(
        first, shown("backprop", [0, 1, 2], path, 8, device)
    )


@needs_cuda
def test_a_seed_draws_the_same_images_on_a_gpu(tmp_path: Path) -> None:
    """Unnormalised, since a mean over the examples may round as the device sums."""
    path, text = tmp_path / "tiny.toml", VARIED.replace("normalise = true\n", "")
    assert text != VARIED
    here, there = (shown("backprop", [0, 3], path, 7, on, text) for on in ("cpu", "cuda"))
    assert torch.equal(here, there.cpu())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", ["backprop", "targetprop"])
def test_stopped_and_resumed_it_ends_the_same(
    rule: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rules, one has an optimizer for its feedback, too; on a GPU steps are captured."""
    compile = "off" if device == "cpu" else "auto"
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 600.0)
    task = tmp_path / "tiny.toml"
    task.write_text(VARIED)
    whole = run(rule, task, tmp_path / "whole", device=device, compile=compile)
    assert not whole.problems
    with pytest.raises(Terminated), handled():
        run(
            rule,
            task,
            tmp_path / "parts",
            device=device,
            compile=compile,
            observe=stopping_after(14),
        )
    parts = run(rule, task, tmp_path / "parts", device=device, compile=compile)
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    assert parts.records[0].provenance["resumed_at_steps"] == [14]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("augment = { pad = 8 }", "pad is 8, and images of 8 x 8 pixels take 7 at most"),
        ("augment = { cutout = 9 }", "cutout is 9, and images of 8 x 8 pixels take 8 at most"),
        ("augment = { colour = 1 }", "colour"),
        ('schedule = { kind = "cosin" }', "cosine"),
        ("schedule = { warmup = 2 }", "warmup = 2 leaves nothing of epochs = 2"),
        ("normalise = false", "normalise"),
    ],
)
def test_what_is_wrong_is_said(line: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("epochs = 2", f"epochs = 2\n{line}"))
    with pytest.raises(BioplausError, match=what):
        read_task(str(path)).build_network()


def test_examples_that_are_no_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    text = TINY.replace('dataset = "digits"', 'dataset = "parity"').replace(
        "units = 16", "units = 2"
    )
    path.write_text(text.replace("epochs = 2", "epochs = 2\naugment = { flip = true }"))
    with pytest.raises(BioplausError, match="augment is for images"):
        read_task(str(path)).build_network()
