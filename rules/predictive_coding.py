"""Predictive coding: activities relax towards a compromise with the target, then learn.

Energy E = sum_{l<L} 1/2 ||eps_l||^2 + loss(prediction_L, y), with errors
eps_l = mu_l - f(W_l mu_{l-1} + b_l) and mu_0 = x. In gradient sign, q_l = -eps_l, and
q_L is the loss's gradient at the prediction. From mu_l = h_l, for T steps,

    mu_l <- mu_l + eta (q_l - W_{l+1}^T (D_{l+1} q_{l+1})),    then d_l = D_l q_l

and layer l learns from d_l mu_{l-1}^T: the energy's gradient, not the loss's. With
predictions and slopes fixed at the forward pass only the errors move,

    q_l <- (1 - eta) q_l + eta W_{l+1}^T (D_{l+1} q_{l+1}),    q_l(0) = 0

and after T steps q_{L-k} is backprop's error times P[Binomial(T, eta) >= k] (Jacobi) or
P[Binomial(T + k - 1, eta) >= k] (top-down): the direction is backprop's at any T.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import RuleConfig
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Trace

from .relaxation import (
    Order,
    energy_target,
    frozen_target,
    hidden_energy,
    node_deltas,
    node_transport,
    outputs,
    prediction_errors,
    predictions,
    relax,
    residual,
    sweep,
)


class PredictiveCodingConfig(RuleConfig):
    """Steps and their size are those of Torch2PC (Rosenbaum 2022).

    Inference without fixed predictions needs eta < 2 / lambda_max, of the energy's Hessian
    in the mu_l: eta < 2 / (1 + max_{l>1} ||D_l W_l||)^2 is enough. Weights grow in training;
    a residual that rises says that eta has become too large for them.
    """

    steps: int = Field(20, ge=1, description="T, inference steps per batch")
    step_size: float = Field(0.1, gt=0, le=1, description="eta, size of an inference step")
    fixed_prediction: bool = Field(
        False, description="freeze predictions and slopes at the forward pass (Millidge 2020)"
    )
    order: Order = Field(
        "jacobi", description="jacobi: all nodes move together; top-down: one after the other"
    )


class Inference(NamedTuple):
    """Where inference stopped."""

    trace: Trace
    """Each layer's prediction, and its slope, that it learns with."""
    errors: list[Tensor]
    """q_1 .. q_K, at the nodes."""


class PredictiveCoding(LayeredRule[PredictiveCodingConfig]):
    """Predictive coding: T steps of inference on the activities, then a local Hebbian update."""

    name = "predictive-coding"
    version = 2
    shares_weights = True
    relaxes = True
    Config = PredictiveCodingConfig
    citation = Citation(
        authors="Whittington and Bogacz",
        title="An approximation of the error backpropagation algorithm in a predictive "
        "coding network with local Hebbian synaptic plasticity",
        year=2017,
        venue="Neural Computation 29",
        identifier="doi:10.1162/NECO_a_00949",
        equations="steps and step size: Rosenbaum, PLoS ONE 17 (2022), its code Torch2PC",
    )

    stackable = frozenset(["step_size"])

    @property
    def search_space(self) -> SearchSpace:
        """Learning rate, and eta, which with T fixed says how far activities relax."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "step_size": Around(0.5, most=1.0),
        }

    @property
    def scales(self) -> frozenset[str]:
        """With fixed predictions each layer's update is backprop's times a number."""
        return frozenset({"step_size"} if self.config.fixed_prediction else ())

    @property
    def plausibility(self) -> Plausibility:
        frozen = self.config.fixed_prediction
        return Plausibility(
            weight_transport="transpose",
            phases=f"relaxation of {self.config.steps} steps"
            + (" with a frozen forward pass" if frozen else ""),
            update_locking=frozen,
            backward_locking=False,
            local=True,
            needs_derivative="transport",
            signed_errors="error units",
            auxiliary="error units one to one" + (", memory of the forward pass" * frozen),
        )

    def shared(self, fwd: ForwardPass) -> Inference:
        infer = infer_errors if self.config.fixed_prediction else infer_activities
        return infer(fwd, self.config)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return node_deltas(fwd, fwd.shared.trace, fwd.shared.errors, fwd.params)

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        return fwd.net.weight_grads(fwd.shared.trace, deltas)

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        trace, errors = fwd.shared
        clamped = fwd.net.loss.value(trace[-1].output, fwd.batch.y)
        return {
            "energy": hidden_energy(errors) + clamped,
            "residual": residual(errors, node_transport(fwd, trace, fwd.params)),
        }


def infer_activities(fwd: ForwardPass, config: PredictiveCodingConfig) -> Inference:
    """mu_1 .. mu_{K-1} descend the energy, and predictions follow them."""
    trace, mus = fwd.trace, [*outputs(fwd.net, fwd.trace)[:-1], fwd.batch.y]
    for _ in range(config.steps):
        mus = sweep(mus, energy_target(fwd, trace), config.step_size, config.order)
        trace = predictions(fwd, mus)
    return Inference(trace, prediction_errors(fwd, trace, mus))


def infer_errors(fwd: ForwardPass, config: PredictiveCodingConfig) -> Inference:
    """Predictions stay as the forward pass leaves them: only q_1 .. q_{K-1} move, from 0."""
    from_0 = [h.new_zeros(h.shape) for h in outputs(fwd.net, fwd.trace)[:-1]]
    target = frozen_target(node_transport(fwd, fwd.trace, fwd.params))
    errors = relax([*from_0, fwd.error], target, config.steps, config.step_size, config.order)
    return Inference(fwd.trace, errors)


class PredictiveCodingFixedConfig(PredictiveCodingConfig):
    """Published: Torch2PC as for predictive-coding; Millidge 2020, 100 steps of 0.2.

    Torch2PC's n sweeps act as n - 1 of ours on the errors, its first one finding none to pass
    on. Millidge et al.'s code moves all nodes by the errors of the sweep before, so that its
    100 are 99 of ours in order jacobi, and no top-down ones.
    """

    fixed_prediction: Literal[True] = Field(
        True, description="predictions and slopes stay as the forward pass leaves them"
    )


class PredictiveCodingFixed(PredictiveCoding):
    """Predictive coding with fixed predictions: errors relax to backprop's, layer by layer."""

    name = "predictive-coding-fixed"
    relaxes = False  # predictions are those of the forward pass
    Config = PredictiveCodingFixedConfig
    preset_of = PredictiveCoding.name
    citation = Citation(
        authors="Millidge, Tschantz and Buckley",
        title="Predictive coding approximates backprop along arbitrary computation graphs",
        year=2020,
        venue="Neural Computation 34 (2022)",
        identifier="arXiv:2006.04182",
        equations="steps and step size: Rosenbaum, PLoS ONE 17 (2022), its code Torch2PC",
    )

    weight_grads = LayeredRule.weight_grads
    """The forward pass's own, which is why other rules can be built on these deltas."""
