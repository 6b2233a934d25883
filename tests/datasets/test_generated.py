"""Data sets that are generated: what their formulas say, the same bytes each time."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from bioplaus.datasets.delayed_match import DelayedMatch
from bioplaus.datasets.mnist1d import Mnist1d, _generated
from bioplaus.datasets.parity import Parity
from bioplaus.datasets.teacher import Teacher
from bioplaus.datasets.two_spirals import TwoSpirals
from bioplaus.errors import DataError
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Dataset, SplitName

SIZES = [
    (DelayedMatch, 4_000, 1_000),
    (Mnist1d, 4_000, 1_000),
    (Parity, 10_000, 2_000),
    (Teacher, 20_000, 4_000),
    (TwoSpirals, 2_000, 1_000),
]
SPLITS: tuple[SplitName, SplitName] = ("train", "test")


@pytest.mark.parametrize(("made", "train", "test"), SIZES)
def test_sizes_and_classes(made: type[Dataset], train: int, test: int) -> None:
    data = made()
    for name, count in zip(SPLITS, (train, test), strict=True):
        split = data.load(name)
        split.check(data.classes)
        assert split.x.shape == (count, *data.shape) and split.x.dtype == torch.float32
        # no class so rare that it could be left out
        assert split.y.bincount(minlength=data.classes).min() > count / data.classes / 3


@pytest.mark.parametrize("made", [made for made, _, _ in SIZES])
def test_the_same_bytes_each_time_and_other_ones_in_each_split(made: type[Dataset]) -> None:
    first = made().load("train")
    _generated.cache_clear()
    np.random.seed(7)
    torch.manual_seed(7)
    state = np.random.get_state()[1].tolist()
    assert made().load("train").checksum == first.checksum
    assert np.random.get_state()[1].tolist() == state
    test = made().load("test").x.flatten(1)
    assert not (first.x[:1_000].flatten(1)[:, None] == test[None, :200]).all(-1).any()


def test_parity_is_the_parity_of_the_signs() -> None:
    split = Parity().load("test")
    product = split.x.sign().prod(-1)
    # of eight signs, the product is -1 where an odd number is +1
    assert torch.equal(split.y, (product < 0).long())


def test_no_seven_bits_say_anything_of_parity() -> None:
    """Of each of the 128 patterns of seven bits both labels are about as frequent."""
    split = Parity().load("train")
    bits = (split.x[:, :7] > 0).long() @ (2 ** torch.arange(7))
    odd = torch.zeros(128).index_add(0, bits, split.y.float()) / bits.bincount(minlength=128)
    # 78 examples a pattern: five standard deviations
    assert (odd - 0.5).abs().max() < 5 * 0.5 / math.sqrt(50)


def test_spirals_are_where_their_formula_puts_them() -> None:
    split = TwoSpirals().load("train")
    radius, angle = split.x.norm(dim=-1), torch.atan2(split.x[:, 1], split.x[:, 0])
    expected = 2 * math.pi * (radius - 0.1) / 0.9 + math.pi * split.y
    off = torch.remainder(angle - expected + math.pi, 2 * math.pi) - math.pi
    # noise of 0.02 across the arm, and along the radius, where the arm turns with it
    spread = 0.02 * torch.sqrt(1 / radius**2 + (2 * math.pi / 0.9) ** 2)
    far = radius > 0.3
    assert (off[far].abs() / spread[far]).max() < 5
    assert 0.8 < (off[far] / spread[far]).std() < 1.2


def test_the_teacher_labels_its_inputs() -> None:
    """Recomputed by hand, from the streams that its docstring names."""
    data, root = Teacher(), Stream(0).at("dataset", "teacher")

    def outputs(x: torch.Tensor) -> torch.Tensor:
        for l, (below, above) in enumerate([(16, 32), (32, 32), (32, 10)], start=1):
            weight = root.at("weight", l).normal((above, below)) * 1.5 / below**0.5
            x = x @ weight.T if l == 3 else (x @ weight.T).tanh()
        return x

    typical = outputs(root.at("centre").normal((4_000, 16)))
    split = data.load("test")
    assert torch.equal(
        ((outputs(split.x.double()) - typical.mean(0)) / typical.std(0)).argmax(-1), split.y
    )


def test_mnist1d_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _generated.cache_clear()
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(DataError, match=r'pip install "bioplaus\[data\]"'):
        Mnist1d().load("train")
