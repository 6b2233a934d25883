"""Incremental predictive coding: weights move with the activities, at every step of inference.

As predictive coding, with its energy and its q_l (prediction minus activity), but there is no
phase of inference that has to end before learning: at each of T steps, all at once,

    mu_l <- mu_l + eta (q_l - W_{l+1}^T (D_{l+1} q_{l+1})),   mu_l = h_l at first
    W_l <- W_l - rate <D_l q_l mu_{l-1}^T>,                    b_l alike

The rule returns the sum of the T weight gradients along the way. One step of plain gradient
descent with a learning rate equal to `rate` along it ends where the T small ones end.

So a batch is T steps of gradient descent, and they diverge as such: where `rate` exceeds
2 over the energy's curvature in the weights, the largest eigenvalue of <mu mu^T> (MSE and
hidden layers). With larger inputs, or units without a bound, take a smaller rate.
"""

from __future__ import annotations

from pydantic import Field

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, LearningRule, RuleConfig, State, Update
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network

from .relaxation import (
    energy_target,
    hidden_energy,
    node_deltas,
    node_transport,
    outputs,
    prediction_errors,
    predictions,
    residual,
    sweep,
)


class IncrementalPredictiveCodingConfig(RuleConfig):
    steps: int = Field(5, ge=1, description="T, steps per batch, each of activities and weights")
    step_size: float = Field(0.5, gt=0, le=1, description="eta, of the activities")
    rate: float = Field(
        0.01, gt=0, description="of the weights at each step; give the optimizer the same"
    )


class IncrementalPredictiveCoding(LearningRule[IncrementalPredictiveCodingConfig]):
    """Incremental predictive coding: one energy, descended by activities and weights at once.

    With another optimizer than plain gradient descent at `rate` the weights within a batch
    move otherwise than at its end; with `rate` small it is predictive coding that learns from
    the mean of all its inference. The first step's gradient is that of the last layer alone:
    errors reach layer L - k after k steps, so T is at least the depth for all to learn.
    """

    name = "incremental-predictive-coding"
    Config = IncrementalPredictiveCodingConfig
    citation = Citation(
        authors="Salvatori, Song, Yordanov, Millidge, Xu, Sha, Emde, Bogacz and Lukasiewicz",
        title="A stable, fast, and fully automatic learning algorithm for predictive coding "
        "networks",
        year=2022,
        venue="ICLR 2024",
        identifier="arXiv:2212.00720",
        equations="algorithm 1",
    )
    stackable = frozenset({"step_size", "rate"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "step_size": Around(0.5, most=1.0)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases=f"{self.config.steps} steps of inference and learning at once",
            update_locking=False,
            backward_locking=False,
            local=True,
            needs_derivative="transport",
            signed_errors="error units",
            auxiliary="error units one to one",
            note="no signal that inference is over",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="sgd", lr=self.config.rate)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        nodes = len(net.node_layers())
        if nodes > self.config.steps + 1:
            return (
                f"in {self.config.steps} steps the error does not reach the first of "
                f"{nodes} layers: take {nodes - 1} or more"
            )
        return None

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        forward = net.forward(params, batch.x)
        error = net.loss.error(forward[-1].output, batch.y)
        fwd = ForwardPass(net, params, state, batch, forward, error, noise)
        total: Params = {}
        trace, mus = forward, [*outputs(net, forward)[:-1], batch.y]
        for _ in range(self.config.steps):
            mus = sweep(mus, energy_target(fwd, trace), self.config.step_size)
            trace = predictions(fwd, mus)
            errors = prediction_errors(fwd, trace, mus)
            grads = net.weight_grads(trace, node_deltas(fwd, trace, errors, fwd.params))
            total = {name: total[name] + g if total else g for name, g in grads.items()}
            # params may hold more than what learns: masks of dropout
            here = {name: params[name] - self.config.rate * g for name, g in total.items()}
            fwd = fwd._replace(params=params | here)
            trace = predictions(fwd, mus)
        errors = prediction_errors(fwd, trace, mus)
        clamped = net.loss.value(trace[-1].output, batch.y)
        return Update(
            grads=total,
            penalty={},
            aux_grads={},
            memory=state.memory,
            metrics={
                "loss": net.loss.value(forward[-1].output, batch.y),
                "energy": hidden_energy(errors) + clamped,
                "residual": residual(errors, node_transport(fwd, trace, fwd.params)),
            },
        )
