"""Losses: values as torch has them, errors as autograd has them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import UnknownNameError
from bioplaus.network.losses import LOSSES, get_loss
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import draw, every_seed


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).double()


@every_seed
@pytest.mark.parametrize("auxiliary", [0, 3])
def test_loss_values_are_torchs(auxiliary: int, seed: int) -> None:
    output = draw(seed, "output", 6, 4 + auxiliary)
    labels = (4 * Stream(seed).at("labels").uniform((6,))).long()
    targets = one_hot(labels, 4)
    answer = output[:, :4]
    mse = 0.5 * F.mse_loss(answer, targets, reduction="sum") / 6
    cross_entropy = F.cross_entropy(answer, labels)
    for name, expected in (("mse", mse), ("cross_entropy", cross_entropy)):
        value = get_loss(name).value(output, targets)
        assert value.shape == ()
        torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)


@every_seed
@pytest.mark.parametrize("auxiliary", [0, 3])
@pytest.mark.parametrize("targets", ["one-hot", "soft", "any"])
@pytest.mark.parametrize("name", LOSSES)
def test_error_is_the_gradient_of_each_examples_own_loss(
    name: str, targets: str, auxiliary: int, seed: int
) -> None:
    loss = get_loss(name)
    output = draw(seed, "output", 6, 4 + auxiliary).requires_grad_()
    y = {
        "one-hot": one_hot((4 * Stream(seed).at("y").uniform((6,))).long(), 4),
        "soft": torch.softmax(draw(seed, "y", 6, 4), 1),
        "any": draw(seed, "y", 6, 4).abs(),
    }[targets]
    alone = [loss.value(output[i : i + 1], y[i : i + 1]) for i in range(6)]
    (expected,) = torch.autograd.grad(torch.stack(alone).sum(), output)
    error = loss.error(output, y)
    torch.testing.assert_close(error, expected, rtol=1e-14, atol=1e-15)
    assert not error[:, 4:].any()
    torch.testing.assert_close(torch.stack(alone).mean(), loss.value(output, y), rtol=1e-14, atol=0)


def test_cross_entropy_survives_large_outputs() -> None:
    output = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 0.0, 1000.0]], dtype=torch.float64)
    targets = one_hot(torch.tensor([0, 0]), 3)
    loss = get_loss("cross_entropy")
    assert loss.value(output, targets).item() == 1000.0
    expected = torch.tensor([[0.0, 0, 0], [-1, 0, 1]], dtype=torch.float64)
    assert torch.equal(loss.error(output, targets), expected)


def test_unknown_loss_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'hinge'"):
        get_loss("hinge")
