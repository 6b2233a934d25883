"""The kit on rules that answer with noise, and on those whose answers mix examples."""

from __future__ import annotations

import pytest
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.rules.backprop import Backprop
from bioplaus.testing.cases import Case
from bioplaus.testing.contract import prediction
from bioplaus.testing.failures import Failure
from bioplaus.testing.networks import NETWORKS, make_network
from tests.helpers.blurred import Blurred


class Centred(Backprop):
    """Looks at the whole batch before it answers."""

    name = "centred"

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        return net.output(params, x - x.mean(0))


class Shared(Blurred):
    """The noise of one example for all."""

    name = "shared"

    def predict_with(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Tensor:
        return net.output(params, x + noise["blur"].mean(0))


DENSE = make_network((7, 6, 4), "tanh")


@pytest.mark.parametrize("rule", [Backprop, Blurred])
@pytest.mark.parametrize("net", [DENSE, NETWORKS["spiking"]], ids=["dense", "noisy encoder"])
def test_answers_with_noise_pass(rule: type[Backprop], net: Network) -> None:
    prediction.on(Case(rule, "small", net))


@pytest.mark.parametrize("rule", [Centred, Shared])
def test_answers_that_mix_examples_are_found(rule: type[Backprop]) -> None:
    with pytest.raises(Failure, match="outputs are others where it is predicted by itself"):
        prediction.on(Case(rule, "small", DENSE))


def test_the_encoder_of_the_kits_spiking_network_draws_in_predictions() -> None:
    assert list(NETWORKS["spiking"].predicted_uniform_shapes()) == ["1.uniform"]
