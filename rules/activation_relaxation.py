"""Activation relaxation: the neurons themselves relax from their activities to their errors.

From x_l(0) = h_l (or 0), with x_L held at the loss's gradient e_L,

    x_l <- (1 - eta) x_l + eta W_{l+1}^T (D_{l+1} x_{l+1}),    then d_l = D_l x_l

D_l, and the h_{l-1} that layer l learns with, are remembered from the forward pass. At
rest x_l is backprop's error; after T steps it still holds (1 - eta)^T h_l and what came
down of the activities above. From 0 this is predictive coding with fixed predictions.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import Transport
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import feedback_alignment
from .relaxation import (
    Backward,
    Order,
    backward_state,
    backward_weights,
    frozen_profile,
    frozen_target,
    node_deltas,
    node_transport,
    outputs,
    relax,
    residual,
)


class ActivationRelaxationConfig(RuleConfig):
    """Defaults are those of the authors' main.py."""

    steps: int = Field(100, ge=1, description="T, sweeps per batch")
    step_size: float = Field(0.1, gt=0, le=1, description="eta, size of a step")
    init: Literal["forward", "zero"] = Field(
        "forward", description="forward: relax from the activities, as published; zero: from 0"
    )
    backward: Backward = Field(
        "transpose",
        description="transpose: W^T; fixed, learned: random B, kept or given the update of W",
    )
    feedback_gain: float = Field(
        1.0, gt=0, description="B is normal with variance gain^2 2 / (fan_in + fan_out)"
    )
    transport_derivative: bool = Field(
        True, description="f' on the error's way back; a layer's own update keeps it"
    )
    order: Order = Field(
        "top-down", description="jacobi: all nodes move together; top-down: one after the other"
    )


class ActivationRelaxation(LayeredRule[ActivationRelaxationConfig]):
    """Activation relaxation: each neuron's activity relaxes to its own backprop error."""

    name = "activation-relaxation"
    version = 2
    shares_weights = True
    Config = ActivationRelaxationConfig
    citation = Citation(
        authors="Millidge, Tschantz, Seth and Buckley",
        title="Activation relaxation: A local dynamical approximation to backpropagation "
        "in the brain",
        year=2020,
        identifier="arXiv:2009.05359",
    )
    stackable = frozenset(["step_size", "feedback_gain"])
    # what is left of the activity at the start, (1 - eta)^T, is as small as with the defaults
    quick = {"steps": 30, "step_size": 0.3}  # noqa: RUF012

    @property
    def search_space(self) -> SearchSpace:
        """Learning rate, and eta, which with T fixed says how far activities relax."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "step_size": Around(0.5, most=1.0),
        }

    @property
    def plausibility(self) -> Plausibility:
        config = self.config
        return frozen_profile(
            config.steps, config.backward, config.transport_derivative
        ).model_copy(
            update={
                "signed_errors": "yes",
                "note": "the same neuron holds first its activity, then its error",
            }
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        """Published: SGD of rate 5e-4 on the sum over batches of 64, cross-entropy."""
        return OptimizerSpec(name="sgd", lr=0.032)

    def optimizer_on(self, net: Network) -> OptimizerSpec:
        """Twice that under the squared error, which the authors define without the 1/2."""
        return self.optimizer.updated({"lr": 0.064}) if net.loss.name == "mse" else self.optimizer

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same" if self.config.backward == "learned" else None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return backward_state(net, stream, self.config.backward, self.config.feedback_gain)

    def shared(self, fwd: ForwardPass) -> list[Tensor]:
        """x_1 .. x_K after the relaxation."""
        config = self.config
        start = outputs(fwd.net, fwd.trace)[:-1]
        if config.init == "zero":
            start = [h.new_zeros(h.shape) for h in start]
        target = frozen_target(self._transport(fwd))
        return relax([*start, fwd.error], target, config.steps, config.step_size, config.order)

    def _transport(self, fwd: ForwardPass) -> Transport:
        return node_transport(fwd, fwd.trace, self._backward(fwd), self.config.transport_derivative)

    def _backward(self, fwd: ForwardPass) -> Params:
        return backward_weights(fwd.params, fwd.state, self.config.backward)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return node_deltas(fwd, fwd.trace, fwd.shared, self._backward(fwd))

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return {
            "residual": residual(fwd.shared, self._transport(fwd)),
            **feedback_alignment(fwd.params, fwd.state.aux),
        }

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        return {name: grads[name] for name in fwd.state.aux}
