"""Consequentialism weight updates: a wrapper that keeps examples from undoing each other.

The batch-mean gradient <d_l h_{l-1}^T> of any rule changes the pre-activation of example
i through every other example's term too. The affine projection emends that: with rows
h_{l-1} in H (N x n_{l-1}, and a column of ones for the bias) and rows d_l in Delta,

    gW_l = Delta^T (H H^T + eps I)^{-1} H = Delta^T H (H^T H + eps I)^{-1}

so that a step of size eta moves example i's pre-activation by -eta d_i, exactly where
eps = 0 and H has full row rank. The diagonal version is normalised LMS, the mean of
d_i h_i^T / (||h_i||^2 + eps). In a convolution the rows of H are the unfolded patches.

This is a reconstruction (confidence: medium). The paper has no public code, and its body
could not be read: the equations follow its abstracts. eps and the learning rate are ours.
It is the input side of a K-FAC preconditioner, taken on the batch, and no model of a brain.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, Self, cast

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, Batch, NoiseSpec, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.linalg import solve
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry


class ConsequentialismConfig(RuleConfig):
    base: str = Field("backprop", description="the rule whose deltas are used, by name")
    options: dict[str, Any] = Field({}, description="options of that rule")
    form: Literal["apa", "nlms"] = Field(
        "apa", description="apa: affine projection, on the whole batch; nlms: example by example"
    )
    eps: float = Field(
        1e-2, ge=0, description="ridge, relative to the mean of ||h_{l-1}||^2 over the batch"
    )


class Consequentialism(LayeredRule[ConsequentialismConfig]):
    """Consequentialism (reconstruction): another rule's deltas, with a batch-wise inverse."""

    name = "consequentialism"
    version = 2
    Config = ConsequentialismConfig
    citation = Citation(
        authors="Paeedeh and Ghiasi-Shirazi",
        title="Improving the backpropagation algorithm with consequentialism weight updates "
        "over mini-batches",
        year=2021,
        venue="Neurocomputing 461",
        identifier="arXiv:2003.05164",
        equations="reconstructed from the abstracts",
    )
    stackable = frozenset(["eps"])

    def __init__(self, config: ConsequentialismConfig) -> None:
        self.base = layered_rule(config.base, config.options)
        # in full, so that a record says what the base rule's options were
        options = self.base.config.model_dump(mode="json")
        super().__init__(config.model_copy(update={"options": options}))
        self._others: dict[LayeredRule[RuleConfig], Consequentialism] = {self.base: self}

    @property
    def search_space(self) -> SearchSpace:
        """Learning rate, and the ridge: it bounds how much noise the inverse lets through."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "eps": Around(1.0),
        }

    @property
    def plausibility(self) -> Plausibility:
        return self.base.plausibility.model_copy(
            update={
                "local": False,
                "note": "a non-plausible control: every synapse needs the other examples "
                "of the batch, through the inverse of a matrix of their activities",
            }
        )

    @property
    def optimizer(self) -> OptimizerSpec | None:
        return OptimizerSpec(name="sgd", lr=0.1)

    # the rest is the base rule's own

    @property
    def refresh_every(self) -> int | None:  # type: ignore[override]
        return self.base.refresh_every

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return self.base.aux_optimizer

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net) or self.base.supports(net):
            return reason
        for l, layer in enumerate(net.layers, start=1):
            if not layer.linear and layer.multiply_adds() > 0:
                return (
                    f"layer {l} leaves products of weights and activity out, so that its inputs "
                    "are no rows that its weights multiply"
                )
        return None

    def amplification(self, net: Network) -> float:
        return self.base.amplification(net)

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return self.base.noise(net, batch_size)

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return self.base.init_state(net, params, stream)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return self.base.deltas(fwd)

    def variant(self, step: int) -> Self:
        return self._around(self.base.variant(step))

    def watched(self) -> Self:
        return self._around(self.base.watched())

    def adapted(self, metrics: Mapping[str, float]) -> Self:
        return self._around(self.base.adapted(metrics))

    def redone(self, metrics: Mapping[str, float]) -> Self | None:
        base = self.base.redone(metrics)
        return None if base is None else self._around(base)

    def _around(self, base: LayeredRule[RuleConfig]) -> Self:
        """This rule around another base; the same one again for the same base."""
        if base not in self._others:
            other = copy.copy(self)
            other.base = base
            self._others[base] = other
        return cast(Self, self._others[base])

    def shared(self, fwd: ForwardPass) -> Any:
        return self.base.shared(fwd)

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return self.base.metrics(fwd, deltas)

    def penalty(self, fwd: ForwardPass) -> Params:
        return self.base.penalty(fwd)

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        return self.base.aux_grads(fwd, deltas, grads)

    def next_memory(self, fwd: ForwardPass) -> Params:
        return self.base.next_memory(fwd)

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        return self.base.predict(net, params, state, x)

    def prediction_noise(self, net: Network) -> dict[str, NoiseSpec]:
        return self.base.prediction_noise(net)

    def predict_with(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Tensor:
        return self.base.predict_with(net, params, state, x, noise)

    def refresh(
        self, net: Network, params: Params, state: State, batch: Batch, stream: Stream
    ) -> State:
        return self.base.refresh(net, params, state, batch, stream)

    def objective(self, net: Network, params: Params, batch: Batch) -> Tensor | None:
        return self.base.objective(net, params, batch)

    def objective_at(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Tensor | None:
        return self.base.objective_at(net, params, state, batch, noise)

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        return fwd.net.join(self._layer_grad(fwd, l, d) for l, d in enumerate(deltas))

    def _layer_grad(self, fwd: ForwardPass, l: int, d: Tensor) -> Params:
        p = fwd.net.at(fwd.params, l)
        design = fwd.net.layers[l].design(fwd.trace[l].residuals, d)
        if design is None:
            return {}
        inputs, delta = design
        if "bias" in p:
            inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        project = affine_projection if self.config.form == "apa" else normalised_lms
        # of size 1: squares of large or small activities leave the range of single precision
        scale = nonzero(inputs.abs().amax())
        inputs = inputs / scale
        grad = project(inputs, delta, self.config.eps * inputs.square().sum(1).mean()) / scale
        if "bias" not in p:
            return {"weight": grad.reshape(p["weight"].shape)}
        return {"weight": grad[:, :-1].reshape(p["weight"].shape), "bias": grad[:, -1]}


def layered_rule(name: str, options: Mapping[str, object]) -> LayeredRule[RuleConfig]:
    """The rule to wrap; ConfigError where its gradients are not made of its deltas alone."""
    rule = registry.load("rule", name).configured(options)
    made_of_deltas = isinstance(rule, LayeredRule) and all(
        getattr(type(rule), method) is getattr(LayeredRule, method)
        for method in ("update", "weight_grads")
    )
    if not made_of_deltas:
        raise ConfigError(
            f"{Consequentialism.name} cannot have the base {name}: it does not learn from "
            "post-synaptic vectors alone"
        )
    wrapped: LayeredRule[RuleConfig] = rule
    return wrapped


def affine_projection(inputs: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """Delta^T (H H^T + eps I)^{-1} H, through the smaller of the two Gram matrices."""
    side = row_side if inputs.shape[0] <= inputs.shape[1] else column_side
    return side(inputs, delta, eps)


def row_side(inputs: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """Through H H^T, of the size of the batch."""
    return solve(ridged(inputs @ inputs.T, eps), delta).T @ inputs


def column_side(inputs: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """Through H^T H, of the size of the layer's input."""
    return solve(ridged(inputs.T @ inputs, eps), inputs.T @ delta).T


def nonzero(scale: Tensor) -> Tensor:
    """The scale, or 1 where it is 0 and so is all that it divides."""
    return torch.where(scale == 0, 1, scale)


def ridged(gram: Tensor, eps: Tensor) -> Tensor:
    """gram + eps I; where inputs are 0, and the ridge with them, I in the place of 0."""
    eps = torch.where(gram.diagonal().sum() == 0, 1, eps)
    return gram + eps * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def normalised_lms(inputs: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """The mean over rows of d_i h_i^T / (||h_i||^2 + eps)."""
    scaled = delta / nonzero(inputs.square().sum(1, keepdim=True) + eps)
    return scaled.T @ inputs / len(inputs)
