"""Spike-based alignment learning: feedback weights that learn the forward ones from spike times."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.dropout import Dropout
from bioplaus.network.layer import Dense, Layer, Params
from bioplaus.network.network import Network
from bioplaus.network.time import AtEachStep
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, FixedFeedbackConfig, feedback_alignment, random_feedback
from .spiking_copy import SpikingCopies


class SalConfig(FixedFeedbackConfig):
    """Defaults are those of the authors' code, whose five phases before an epoch are spread.

    Feedback starts as that of feedback alignment does here, and in that code about half as large.
    """

    refresh_every: int = Field(78, ge=1, description="steps from one spiking phase to the next")
    phase_rate: float = Field(0.04, gt=0, description="eta, learning rate of a phase")
    phase_steps: int = Field(2000, ge=1, description="time steps of a phase")
    copies: int = Field(32, ge=1, description="spiking copies of the layers, averaged over")
    tau: int = Field(10, ge=1, description="steps that a spike is felt, and its unit refractory")


class Sal(LayeredRule[SalConfig]):
    """Spike-based alignment learning: e_{l-1} = B_l (D_l e_l), where B_l learns from spike times.

    Every so many steps the dense layers are copied into stochastic spiking ones, whose
    neighbours excite each other through W_l and B_l, without input or label. A spike below
    before one above strengthens B_l and the reverse weakens it, so that in the mean it moves
    towards W_l^T (`bioplaus.rules.spiking_copy`). Convolutions keep the feedback they were
    drawn, as in the authors' code. The host may be spiking itself, or not.
    """

    name = "sal"
    Config = SalConfig
    mixes_examples = True
    in_time = True
    citation = Citation(
        authors="Gierlich, Baumbach, Kungl, Max and Petrovici",
        title="Weight transport through spike timing for robust local gradients",
        year=2025,
        identifier="arXiv:2503.02642",
        equations="those of its code, unibe-cns/sal-code",
    )
    stackable = frozenset({"feedback_gain", "phase_rate"})

    @property
    def refresh_every(self) -> int:  # type: ignore[override]
        """From the options."""
        return self.config.refresh_every

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "phase_rate": Around(0.5)}

    @property
    def plausibility(self) -> Plausibility:
        return FEEDBACK_PATH.model_copy(
            update={
                "phases": "one backward pass, and at times a phase of spontaneous spikes",
                "auxiliary": "learned feedback weights B_l, noise in every unit",
            }
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        return None if _aligned(net) else "it has no dense layer above its first with feedback"

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State(aux={}, memory=random_feedback(net, stream, self.config.feedback()))

    def refresh(
        self, net: Network, params: Params, state: State, batch: Batch, stream: Stream
    ) -> State:
        alone, own = ({k: t[None] for k, t in part.items()} for part in (params, state.memory))
        memory = self._phase(net, alone, own, [stream])
        return State(state.aux, {name: tensor[0] for name, tensor in memory.items()})

    def refresh_all(
        self, net: Network, params: Params, state: State, batch: Batch, streams: Sequence[Stream]
    ) -> State:
        return State(state.aux, self._phase(net, params, state.memory, streams))

    def _phase(
        self, net: Network, params: Params, memory: Params, streams: Sequence[Stream]
    ) -> Params:
        """The feedback weights after one phase; all stacked."""
        config, names = self.config, [f"{l + 1}.weight" for l in _aligned(net)]
        weights = [params[name] for name in names]
        copies = SpikingCopies(
            weights, _biases(net, params, weights), config.copies, config.tau, streams
        )
        changes = copies.run([memory[name] for name in names], config.phase_steps)
        learned = {
            name: memory[name] + config.phase_rate * change
            for name, change in zip(names, changes, strict=True)
        }
        return {**memory, **learned}

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return backward_sweep(fwd, adjoint_transport(fwd, fwd.state.memory))

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return feedback_alignment(fwd.params, fwd.state.memory)


def _aligned(net: Network) -> list[int]:
    """The layers, from 0, whose feedback learns: the dense ones that follow each other at the
    top, from the second layer of the network at the lowest."""
    found = []
    for l in range(net.top, net.bottom, -1):
        inner = _inner(net.layers[l])
        if type(inner) is Dense:
            found.append(l)
        elif not isinstance(inner, Dropout):
            break
    return found[::-1]


def _biases(net: Network, params: Params, weights: Sequence[Tensor]) -> list[Tensor]:
    """Of the units below the first layer that learns, and of those of all that do; (S, n)."""
    first, *others = _aligned(net)
    names = [f"{l + 1}.bias" for l in (first, *others)]
    tensors = [params.get(name) for name in names]
    pairs = zip(weights, tensors, strict=True)
    units = [w.new_zeros(w.shape[:2]) if b is None else b for w, b in pairs]
    l = first - 1
    while l > 0 and isinstance(_inner(net.layers[l]), Dropout):
        l -= 1
    start = params.get(f"{l + 1}.bias") if type(_inner(net.layers[l])) is Dense else None
    nothing = weights[0].new_zeros(weights[0].shape[0], weights[0].shape[2])
    return [nothing if start is None else start, *units]


def _inner(layer: Layer) -> Layer:
    return layer.inner if isinstance(layer, AtEachStep) else layer
