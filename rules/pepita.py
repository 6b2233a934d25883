"""PEPITA: a second forward pass, on an input that the output's error has moved."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.random_streams import Stream


class PepitaConfig(RuleConfig):
    feedback_gain: float = Field(
        0.05,
        gt=0,
        description="F is uniform between plus and minus gain sqrt(6 / n_0): how far the error "
        "moves the input; 0.05 is the authors'",
    )


class Pepita(LayeredRule[PepitaConfig]):
    """PEPITA: layers learn from what a second pass on x + F e changes, with fixed random F.

        e = e_L of the first pass,   h'_0 = x + F e,   h'_l = f(W_l h'_{l-1} + b_l)
        d_l = h_l - h'_l,  l < L        d_L = D'_L * e'_L, the loss's gradient in the second pass
        gW_l = <d_l h'_{l-1}^T>,   gb_l = <d_l>

    F is n_0 x n_L. No error goes down through the layers, and no f' is used below the last;
    the first pass's activity has to be remembered until the second.

    d_l is small, as F is; optimizers that divide by a gradient's own size (Adam) make up for
    it, plain gradient descent learns the hidden layers slowly. The differences are of nearly
    equal numbers: smaller gains lose digits in single precision. Under squared error with
    unbounded outputs training runs away (seen on digits-square, where it stays at chance).

    Compared with the authors' code (GiorgiaD/PEPITA, functions.py): the updates of 9-12-7-4 relu
    without dropout agree to 1e-15. It takes the last layer's error from the second pass, as
    here, has softmax outputs under cross-entropy (there D'_L is 1), no biases, and dropout with
    one mask for both passes. Its convolutions average over places where this one sums.
    """

    name = "pepita"
    Config = PepitaConfig
    citation = Citation(
        authors="Dellaferrera and Kreiman",
        title="Error-driven input modulation: solving the credit assignment problem without a "
        "backward pass",
        year=2022,
        venue="ICML 39",
        identifier="arXiv:2201.11665",
        equations="algorithm 1; its code, functions.py",
    )
    stackable = frozenset({"feedback_gain"})

    @property
    def search_space(self) -> SearchSpace:
        """How far the second pass is from the first is no scale of the update alone."""
        return {"optimizer.lr": LEARNING_RATE, "feedback_gain": Around(1.0)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="a second forward pass",
            update_locking=True,
            backward_locking=False,
            local=True,
            needs_derivative="local",
            signed_errors="activity difference",
            auxiliary="projection F from the output to the input, memory of the first pass",
            note="f' in the last layer only",
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        top = net.layers[-1].activation
        if net.loss.name == "mse" and not top.bounded:
            return (
                f"its outputs have no bounds under {top} and squared error, so that the error may "
                "move the input ever further; use cross-entropy, or a bounded output"
            )
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        inputs, outputs = math.prod(net.in_shape), math.prod(net.layers[-1].out_shape)
        bound = self.config.feedback_gain * math.sqrt(6 / inputs)
        drawn = 2 * stream.at("projection").uniform((inputs, outputs)) - 1
        return State(aux={}, memory={"projection": bound * drawn})

    def shared(self, fwd: ForwardPass) -> Trace:
        """The second pass."""
        moved = (fwd.error @ fwd.state.memory["projection"].T).reshape(fwd.batch.x.shape)
        return fwd.net.forward(fwd.params, fwd.batch.x + moved)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        second: Trace = fwd.shared
        pairs = zip(fwd.trace[:-1], second[:-1], strict=True)
        top = second[-1]
        return [
            *(one.output - two.output for one, two in pairs),
            top.slope * fwd.net.loss.error(top.output, fwd.batch.y),
        ]

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        return fwd.net.weight_grads(fwd.shared, deltas)
