"""Equilibrium propagation: the network settles freely, then nudged, and learns the difference.

States s_1 .. s_L with s_0 = x relax under Phi = sum_l s_l . (W_l s_{l-1} + b_l) and a cost C:

    s_l <- sigma(W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1} - beta dC/ds_l),   C = loss(s_L, y)

from s = 0 without a nudge to s*, then from s* with beta+ to s+ and with beta- to s-:

    gW_l = -(<s_l^+ s_{l-1}^{+T}> - <s_l^- s_{l-1}^{-T}>) / (beta+ - beta-)

sigma is the layers' activation. A last layer without one is a readout, as in the
published cross-entropy version: C = loss(W_o s + b_o, y), s the state below it, and
W_o, b_o get dC at the nudged states. Pooling belongs to the primitive, as published:
Phi has s_l . Pool(W_l s_{l-1} + b_l), and sigma comes after it.

The vector-field version has backward weights B_l in place of W_l^T in the dynamics; where
there is pooling it routes by B_l on the way down. The nudge still crosses a readout
through W_o, which is part of the cost.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.rule import (
    AuxOptimizer,
    Batch,
    LearningRule,
    NoiseSpec,
    RuleConfig,
    State,
    Update,
)
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .chains import branching
from .equilibrium import Circuit, Nudge, Phase, States, relaxing_stages


class EquilibriumPropagationConfig(RuleConfig):
    nudging: Literal["symmetric", "one-sided", "random-sign"] = Field(
        "symmetric",
        description="(beta+, beta-): symmetric is (beta, -beta), one-sided (beta, 0), random-sign "
        "(beta or -beta, 0), one sign for a batch",
    )
    feedback: Literal["symmetric", "common", "own"] = Field(
        "symmetric",
        description="symmetric: states come down through W^T; else through backward weights B, "
        "learned with the same update as W (common) or one of their own (own)",
    )
    beta: float = Field(0.1, gt=0, description="strength of the nudge")
    free_steps: int = Field(30, ge=1, description="T1, steps of the free phase")
    nudged_steps: int = Field(10, ge=1, description="T2, steps of each nudged phase")
    order: Literal["synchronous", "even-odd"] = Field(
        "synchronous",
        description="even-odd: layers 1, 3, .. move before 2, 4, ..; where all at once oscillate",
    )


class EquilibriumPropagation(LearningRule[EquilibriumPropagationConfig]):
    """Equilibrium propagation: the difference of two nudged equilibria, symmetric by default.

    Defaults are those of the authors' MNIST check (784-512-10, squared error). A network
    predicts by its free equilibrium, not by a forward pass.

    The updates mean what they say where `residual` is small. In the task digits-equilibrium,
    the authors' activation and initial weights, it stays below 1e-3 over 50 epochs.
    """

    name = "equilibrium-propagation"
    version = 2
    relaxes = True
    Config = EquilibriumPropagationConfig
    citation = Citation(
        authors="Laborieux, Ernoult, Scellier, Bengio, Grollier and Querlioz",
        title="Scaling equilibrium propagation to deep ConvNets by drastically reducing its "
        "gradient estimator bias",
        year=2021,
        venue="Frontiers in Neuroscience 15",
        identifier="doi:10.3389/fnins.2021.633674",
    )
    stackable = frozenset(["beta"])
    published = (
        Published(
            metric="cifar10 test accuracy",
            value=0.883,
            note="symmetric nudging, convolutional, 120 epochs",
            source="Laborieux et al. 2021, Frontiers in Neuroscience 15, abstract",
        ),
    )

    @property
    def search_space(self) -> SearchSpace:
        """Learning rate, and beta: small is noisy in float32, large is biased."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "beta": Around(0.7),
        }

    @property
    def plausibility(self) -> Plausibility:
        config = self.config
        symmetric = config.feedback == "symmetric"
        nudged = "two nudged relaxations" if config.nudging == "symmetric" else "a nudged one"
        return Plausibility(
            weight_transport="transpose" if symmetric else "none",
            phases=f"a free relaxation of {config.free_steps} steps, {nudged} "
            f"of {config.nudged_steps}",
            update_locking=False,
            backward_locking=False,
            local=True,
            needs_derivative="no",
            signed_errors="activity difference",
            auxiliary="memory of the activity in each phase"
            + ("" if symmetric else ", backward weights B_l"),
            note="symmetric connections" if symmetric else "",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=5e-4)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return None if self.config.feedback == "symmetric" else "same"

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        for layers in net.node_layers() if net.nodes else ():
            if sum(net.layers[l].multiply_adds() > 0 for l in layers) != 1:
                return (
                    f"layers {layers.start + 1} to {layers.stop} are one node with several layers "
                    "with weights, and each of its states belongs to one"
                )
        for l, layer in enumerate(net.layers, start=1):
            if reason := branching(layer, l):
                return f"{reason}, and states have an energy on a chain alone"
        relaxing = relaxing_stages(net)
        if not relaxing:
            return "no layer has states to relax"
        for stage in relaxing:
            activation = net.layers[stage.weighted].activation
            if not activation.bounded:
                return (
                    f"layer {stage.weighted + 1}: under {activation}, which has no bounds, "
                    "states may diverge"
                )
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        random = self.config.nudging == "random-sign"
        return {"sign": NoiseSpec((), "uniform")} if random else {}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if self.config.feedback == "symmetric":
            return State({}, {})
        above = [stage.weighted for stage in relaxing_stages(net)[1:]]
        drawn = (net.layers[l].init(stream.at("backward", l + 1), net.initial) for l in above)
        weights = {f"{l + 1}.weight": p["weight"] for l, p in zip(above, drawn, strict=True)}
        return State(aux=weights, memory={})

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        circuit = self._circuit(net, params, state, batch.x)
        free = circuit.relax(circuit.rest(), self.config.free_steps)
        plus, minus = (self._phase(circuit, free, beta, batch.y) for beta in self._betas(noise))
        grads = circuit.contrast(plus, minus)
        backward: Params = {}
        if self.config.feedback == "own":
            forward, backward = circuit.contrast_each_way(free, plus, minus)
            grads = grads | forward
        elif self.config.feedback == "common":
            # the same but for pooling, which the two choose differently: their mean
            backward = circuit.contrast_back(plus, minus)
            backward = {name: (g + grads[name]) / 2 for name, g in backward.items()}
            grads = grads | backward
        return Update(
            grads=grads,
            penalty={},
            aux_grads={name: backward[name] for name in state.aux},
            memory=state.memory,
            metrics={
                "loss": net.loss.value(circuit.output(free), batch.y),
                "residual": circuit.residual(free),
            },
        )

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        circuit = self._circuit(net, params, state, x)
        return circuit.output(circuit.relax(circuit.rest(), self.config.free_steps))

    def objective(self, net: Network, params: Params, batch: Batch) -> Tensor | None:
        """The loss at the free equilibrium, unrolled; with backward weights there is none."""
        if self.config.feedback != "symmetric":
            return None
        output = self.predict(net, params, State({}, {}), batch.x)
        return net.loss.value(output, batch.y)

    def _circuit(self, net: Network, params: Params, state: State, x: Tensor) -> Circuit:
        return Circuit(net, params, params | state.aux, x, self.config.order)

    def _betas(self, noise: Params) -> tuple[Tensor | float, float]:
        """beta+ and beta-; 0 is the free phase itself."""
        beta = self.config.beta
        if self.config.nudging == "symmetric":
            return beta, -beta
        if self.config.nudging == "one-sided":
            return beta, 0.0
        positive = (noise["sign"] < 0.5).to(noise["sign"].dtype)
        return beta * (2 * positive - 1), 0.0

    def _phase(self, circuit: Circuit, free: States, beta: Tensor | float, y: Tensor) -> Phase:
        nudge = Nudge(beta, y)
        if isinstance(beta, float) and beta == 0:
            return Phase(nudge, free)
        return Phase(nudge, circuit.relax(free, self.config.nudged_steps, nudge))
