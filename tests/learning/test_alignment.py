"""Cosines, ratios and shares of equal signs, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from bioplaus.learning.alignment import by_layer, compare, cosine_and_ratio, sign_agreement
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network


def test_numbers_by_hand() -> None:
    ours = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, -2.0]]).double()
    theirs = torch.tensor([[4.0, 3.0], [0.0, 2.0], [-1.0, 1.0]]).double()
    cosines, ratios = cosine_and_ratio(ours, theirs)
    assert cosines.tolist() == pytest.approx([24 / 25, 0, -1])
    assert ratios.tolist() == pytest.approx([1, 0.5, 2])
    # in the second row only the second entry counts, and 0 is not positive
    assert sign_agreement(ours, theirs).tolist() == [1, 0, 0]


def test_nothing_to_compare_with_is_no_number() -> None:
    zero = torch.zeros(1, 3).double()
    assert math.isnan(float(cosine_and_ratio(zero + 1, zero)[0]))
    assert math.isnan(float(sign_agreement(zero + 1, zero)))


def test_a_layer_is_its_weights_and_biases_in_one_vector() -> None:
    net = Network((Dense(2, 2), Dense(2, 1, bias=False)), get_loss("mse"), classes=1)
    update = {
        "1.weight": torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]),
        "1.bias": torch.tensor([[0.0, 2.0]]),
        "2.weight": torch.tensor([[[1.0, 1.0]]]),
    }
    gradient = {name: torch.ones_like(tensor) for name, tensor in update.items()}
    found = compare(net, update, gradient)
    assert set(found) == {"cosine.1", "norm_ratio.1", "cosine.2", "norm_ratio.2"}
    assert float(found["cosine.1"]) == pytest.approx(3 / math.sqrt(5 * 6))
    assert float(found["norm_ratio.1"]) == pytest.approx(math.sqrt(5 / 6))
    assert float(found["cosine.2"]) == pytest.approx(1)
    layers = {l: ours.shape for l, ours, _ in by_layer(net, update, gradient)}
    assert layers == {0: (1, 6), 1: (1, 2)}
