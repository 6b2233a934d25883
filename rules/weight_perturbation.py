"""Weight perturbation: noise on every weight, and one number to tell whether it was good."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from pydantic import Field

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, RuleConfig, State, Update
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params, Shape
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class WeightPerturbationConfig(RuleConfig):
    sigma: float = Field(
        0.01, gt=0, description="standard deviation of the noise on every parameter"
    )
    trials: int = Field(
        16, ge=1, description="noises tried on every batch, each in a forward pass of its own"
    )


class WeightPerturbation(LearningRule[WeightPerturbationConfig]):
    """Weight perturbation: g = (L(theta + sigma xi) - L(theta)) / sigma * xi, for all parameters.

    L is the batch's mean loss, xi ~ N(0, 1) for every weight and bias, g the mean over the
    trials. Over the noise its mean is the gradient of the smoothed loss, backprop's as
    sigma -> 0. With P parameters and T trials the cosine of g and the gradient is about
    sqrt(T / (P + T)): for every weight's noise one scalar is shared by all of them. So it is
    slower than node perturbation, about as much as there are more weights than neurons, and a
    benchmark's small budget shows it.
    """

    name = "weight-perturbation"
    shares_weights = True
    Config = WeightPerturbationConfig
    citation = Citation(
        authors="Jabri and Flower",
        title="Weight perturbation: an optimal architecture and learning technique for analog "
        "VLSI feedforward and recurrent multilayer networks",
        year=1992,
        venue="IEEE Transactions on Neural Networks 3",
        identifier="doi:10.1109/72.105429",
        equations="all weights at once, as Cauwenberghs, NIPS 5 (1992), and Werfel, Xie and Seung, "
        "NIPS 16 (2003)",
    )
    stackable = frozenset({"sigma"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "sigma": Around(0.7)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases=f"{self.config.trials} forward passes with noisy weights",
            update_locking=True,
            backward_locking=False,
            local=True,
            needs_derivative="no",
            signed_errors="none",
            auxiliary="a scalar reward for all, memory of every synapse's noise",
            note="the reward is the difference of a batch's losses in two passes",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=1e-3)

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        shapes = parameter_shapes(net)
        return {name: NoiseSpec((self.config.trials, *shape)) for name, shape in shapes.items()}

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        clean = net.mean_loss(params, batch.x, batch.y)
        # params may hold more than what learns: masks of dropout
        total = {name: xi[0].new_zeros(xi[0].shape) for name, xi in noise.items()}
        for trial in range(self.config.trials):
            xi = {name: each[trial] for name, each in noise.items()}
            moved = {name: params[name] + self.config.sigma * own for name, own in xi.items()}
            slope = (net.mean_loss(params | moved, batch.x, batch.y) - clean) / self.config.sigma
            total = {name: tensor + slope * xi[name] for name, tensor in total.items()}
        return Update(
            grads={name: tensor / self.config.trials for name, tensor in total.items()},
            penalty={},
            aux_grads={},
            memory=state.memory,
            metrics={"loss": clean},
        )


@lru_cache(maxsize=16)
def parameter_shapes(net: Network) -> Mapping[str, Shape]:
    """The shapes of all parameters; remembered, since a draw is how to learn them."""
    drawn = net.init(Stream(0))
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in drawn.items()})
