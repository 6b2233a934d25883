"""A rule that answers with noise of its own."""

from __future__ import annotations

from torch import Tensor

from bioplaus.learning.rule import NoiseSpec, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.rules.backprop import Backprop


class Blurred(Backprop):
    """Backprop whose answers are those for an input with noise of its own, sigma 1."""

    name = "blurred"

    def prediction_noise(self, net: Network) -> dict[str, NoiseSpec]:
        return {"blur": NoiseSpec(net.in_shape)}

    def predict_with(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Tensor:
        return net.output(params, x + noise["blur"])
