"""What the tests of the feedback-alignment family share."""

from __future__ import annotations

import pytest
from torch import Tensor

from bioplaus.network.layer import Params
from tests.helpers.networks import SEEDS

CASES = [
    ("dense", (9, 12, 7, 5, 4), "leaky_relu(0.1)", "mse"),
    ("dense", (9, 12, 7, 5, 4), "tanh", "cross_entropy"),
    ("tower", (12, 12, 8, 4), "sigmoid", "cross_entropy"),
]
every_case = pytest.mark.parametrize(("kind", "widths", "activation", "loss"), CASES)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def upper_weights(params: Params) -> Params:
    """The weights of the layers above the first."""
    return {k: v for k, v in params.items() if k.endswith("weight") and k != "1.weight"}


def xavier_deviation(weight: Tensor) -> float:
    return float((2 / sum(weight.shape)) ** 0.5)
