"""Node perturbation: noise at every neuron, kept where the loss falls, turned where it rises."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import (
    Batch,
    LearningRule,
    NoiseSpec,
    RuleConfig,
    State,
    Update,
)
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.random_streams import Stream

from .chains import shaken_copies
from .perturbation import rise, weighted_layers


class NodePerturbationConfig(RuleConfig):
    sigma: float = Field(
        0.05,
        gt=0,
        description="standard deviation of the noise at every neuron's potential; small is noisy "
        "in single precision, large is biased",
    )
    form: Literal["noise", "activity"] = Field(
        "noise",
        description="what the rise of the loss multiplies: the noise of each neuron, or how its "
        "potential changed in all (Dalm et al. 2023, activity-based node perturbation)",
    )
    decorrelation: float = Field(
        0.0,
        ge=0,
        description="learning rate of the matrices R_l that decorrelate every layer's input "
        "(Dalm et al. 2023); 0 for none",
    )


class NodePerturbation(LearningRule[NodePerturbationConfig]):
    """Node perturbation: d_l = (L~ - L) / sigma * xi_l, from two forward passes and a scalar.

    Each example goes up twice, once with xi_l ~ N(0, 1) at every neuron of a layer with weights:

        a~_l = W_l h~_{l-1} + b_l + sigma xi_l,   h~_l = f(a~_l),   gW_l = <d_l h_{l-1}^T>

    L~ and L are the example's losses with and without. The mean of d_l over the noise is the
    gradient at a_l of the loss smoothed by it: backprop's as sigma -> 0. Its variance grows with
    the number of neurons, as all of them explain one scalar: the larger the network, the
    smaller the learning rate that it bears.

    form = "activity": with v_l = a~_l - a_l, what arrives of all noise below included, and n
    neurons in the network, d_l = n (L~ - L) v_l / ||v||^2.

    decorrelation: layers read x_l = R_l h_{l-1} in the place of h_{l-1}, and

        R_l <- R_l - rate (<x_l x_l^T> - diag <x_l^2>) R_l,   R_l = I at first

    The network that learns is then the one with the R_l: it predicts with them, and alignment
    with the gradient of its loss is found under "objective".
    """

    name = "node-perturbation"
    Config = NodePerturbationConfig
    citation = Citation(
        authors="Dalm, Offergeld, Ahmad and van Gerven",
        title="Effective learning with node perturbation in multi-layer neural networks",
        year=2023,
        venue="arXiv",
        identifier="arXiv:2310.00965",
        equations="after Werfel, Xie and Seung, Learning curves for stochastic gradient descent in "
        "linear feedforward networks, NIPS 16 (2003)",
    )
    stackable = frozenset({"sigma"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "sigma": Around(0.7)}

    @property
    def plausibility(self) -> Plausibility:
        decorrelates = self.config.decorrelation > 0
        return Plausibility(
            weight_transport="none",
            phases="a second forward pass with noise",
            update_locking=True,
            backward_locking=False,
            local=not decorrelates,
            needs_derivative="no",
            signed_errors="none",
            auxiliary="a scalar reward for all, memory of the noise"
            + (", decorrelating matrices" if decorrelates else ""),
            note="the reward is the difference of one example's losses in two passes",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=1e-3)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net) or shaken_copies(net, "noise on its units would shake"):
            return reason
        if self.config.decorrelation > 0:
            for l in weighted_layers(net):
                if len(net.layers[l].in_shape) != 1:
                    return f"layer {l + 1} reads images, whose places share no decorrelation"
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {
            str(l + 1): NoiseSpec((batch_size, *net.layers[l].out_shape))
            for l in weighted_layers(net)
        }

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if not self.config.decorrelation:
            return State({}, {})
        wide = {l: net.layers[l].in_shape[0] for l in weighted_layers(net)}
        eyes = {
            f"{l + 1}.decorrelation": torch.eye(n, dtype=torch.float64) for l, n in wide.items()
        }
        return State(aux={}, memory=eyes)

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        clean = self._ascend(net, params, state, batch.x, {})
        noisy = self._ascend(net, params, state, batch.x, noise)
        change = rise(net, noisy[-1].output, clean[-1].output, batch.y)
        deltas = self._deltas(net, clean, noisy, change, noise)
        return Update(
            grads=net.weight_grads(clean, deltas),
            penalty={},
            aux_grads={},
            memory=self._decorrelated(net, state, clean),
            metrics={"loss": net.loss.value(clean[-1].output, batch.y)},
        )

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        return self._ascend(net, params, state, x, {})[-1].output

    def objective_at(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Tensor | None:
        """The loss of the network with its decorrelated inputs, where it has them."""
        if not self.config.decorrelation:
            return None
        return net.loss.value(self.predict(net, params, state, batch.x), batch.y)

    def _ascend(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Trace:
        """A forward pass, with the noise given; slopes are the clean potential's, and unused."""
        trace: list[LayerTrace] = []
        h = x
        for l, layer in enumerate(net.layers):
            mixing = state.memory.get(f"{l + 1}.decorrelation")
            step = net.step(params, l, h if mixing is None else h @ mixing.T)
            if str(l + 1) in noise:
                a = step.preactivation + self.config.sigma * noise[str(l + 1)]
                step = step._replace(preactivation=a, output=layer.activation(a))
            trace.append(step)
            h = step.output
        return tuple(trace)

    def _deltas(
        self, net: Network, clean: Trace, noisy: Trace, change: Tensor, noise: Params
    ) -> list[Tensor]:
        """d_l of every layer; 0 for one without weights."""
        if self.config.form == "noise":
            per_unit = change / self.config.sigma
            carried = {l: noise[str(l + 1)] for l in weighted_layers(net)}
        else:
            carried = {
                l: noisy[l].preactivation - clean[l].preactivation for l in weighted_layers(net)
            }
            size = sum(v.square().flatten(1).sum(1) for v in carried.values())
            units = sum(v[0].numel() for v in carried.values())
            per_unit = units * change / size
        return [
            _rows(per_unit, carried[l]) if l in carried else torch.zeros_like(step.preactivation)
            for l, step in enumerate(clean)
        ]

    def _decorrelated(self, net: Network, state: State, clean: Trace) -> Params:
        """The next R_l."""
        moved: Params = {}
        for l in weighted_layers(net):
            name = f"{l + 1}.decorrelation"
            if name in state.memory:
                x, matrix = clean[l].input, state.memory[name]
                correlation = x.T @ x / len(x)
                off = correlation - torch.diag(torch.diagonal(correlation))
                moved[name] = matrix - self.config.decorrelation * off @ matrix
        return moved


def _rows(scale: Tensor, rows: Tensor) -> Tensor:
    """Each example's rows times its own number."""
    return scale.reshape(-1, *[1] * (rows.dim() - 1)) * rows
