"""Predictive coding: activities relax towards a compromise with the target, then learn.

Energy E = sum_{l<L} 1/2 ||eps_l||^2 + loss(prediction_L, y), with errors
eps_l = mu_l - f(W_l mu_{l-1} + b_l) and mu_0 = x. In gradient sign, q_l = -eps_l, and
q_L is the loss's gradient at the prediction.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bioplaus.layers import Params
from bioplaus.network import Network, Trace
from bioplaus.profile import Citation, Plausibility
from bioplaus.rule import Batch, LearningRule, RuleConfig, State, Update


class PredictiveCodingConfig(RuleConfig):
    steps: int = Field(20, ge=1, description="T, inference steps per batch")
    step_size: float = Field(0.1, gt=0, le=1, description="eta, size of an inference step")
    fixed_prediction: bool = Field(
        False, description="freeze predictions and slopes at the forward pass (Millidge 2020)"
    )


class PredictiveCoding(LearningRule[PredictiveCodingConfig]):
    """Predictive coding: T steps of inference on the activities, then a local Hebbian update."""

    name = "predictive-coding"
    Config = PredictiveCodingConfig
    citation = Citation(
        authors="Whittington and Bogacz",
        title="An approximation of the error backpropagation algorithm in a predictive "
        "coding network with local Hebbian synaptic plasticity",
        year=2017,
        venue="Neural Computation 29",
        identifier="doi:10.1162/NECO_a_00949",
        equations="fixed predictions: Millidge, Tschantz and Buckley, arXiv:2006.04182",
    )

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

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        forward = net.forward(params, batch.x)
        loss = net.loss.value(forward[-1].output, batch.y)
        infer = self._fixed_inference if self.config.fixed_prediction else self._inference
        trace, errors = infer(net, params, forward, batch.y)
        deltas = [step.slope * q for step, q in zip(trace, errors, strict=True)]
        return Update(
            grads=net.weight_grads(trace, deltas),
            penalty={},
            aux_grads={},
            memory=state.memory,
            metrics={"loss": loss},
        )

    def _inference(
        self, net: Network, params: Params, forward: Trace, y: Tensor
    ) -> tuple[Trace, list[Tensor]]:
        """The hidden mu_l descend E together, from the forward pass; predictions follow."""
        mus = [step.output for step in forward[:-1]]
        trace, errors = forward, _errors(net, forward, mus, y)
        for _ in range(self.config.steps):
            pulls = _pulls(net, params, trace, errors)
            mus = [
                mu + self.config.step_size * (q - pull)
                for mu, q, pull in zip(mus, errors, pulls, strict=False)
            ]
            trace = predict_from(net, params, forward[0].input, mus)
            errors = _errors(net, trace, mus, y)
        return trace, errors

    def _fixed_inference(
        self, net: Network, params: Params, forward: Trace, y: Tensor
    ) -> tuple[Trace, list[Tensor]]:
        """Only the errors move, q_l(0) = 0, each towards W^T (D q) of the layer above.

        After T steps q_{L-k} is backprop's error times P[Binomial(T, eta) >= k].
        """
        top = net.loss.error(forward[-1].output, y)
        errors = [step.output.new_zeros(step.output.shape) for step in forward[:-1]] + [top]
        for _ in range(self.config.steps):
            pulls = _pulls(net, params, forward, errors)
            # in this form a step size of 1 is exact
            errors = [
                (1 - self.config.step_size) * q + self.config.step_size * pull
                for q, pull in zip(errors, pulls, strict=False)
            ] + [top]
        return forward, errors


def predict_from(net: Network, params: Params, x: Tensor, mus: list[Tensor]) -> Trace:
    """Each layer's prediction from the activity below it: mu_0 = x, mu_1 .. mu_{L-1}."""
    return tuple(net.step(params, l, below) for l, below in enumerate([x, *mus]))


def _errors(net: Network, trace: Trace, mus: list[Tensor], y: Tensor) -> list[Tensor]:
    """q_1 .. q_L: prediction minus activity, and the loss's gradient at the top."""
    hidden = [step.output - mu for step, mu in zip(trace, mus, strict=False)]
    return [*hidden, net.loss.error(trace[-1].output, y)]


def _pulls(net: Network, params: Params, trace: Trace, errors: list[Tensor]) -> list[Tensor]:
    """W_{l+1}^T (D_{l+1} q_{l+1}) for the hidden layers l = 1 .. L-1."""
    return [
        layer.adjoint(net.at(params, l), step.residuals, step.slope * q)
        for l, (layer, step, q) in enumerate(zip(net.layers, trace, errors, strict=True))
        if l > 0
    ]
