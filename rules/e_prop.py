"""E-prop: eligibility traces forward in time, times a learning signal from the readout.

The gradient of a recurrent network of spiking units is a sum over synapses and steps of how far the
loss depends on a unit's spike, and how far that spike depends on the synapse. E-prop takes of the
first what the readout alone says, and of the second what a unit's own membrane remembers:

    x_i,t = decay x_i,t-1 + gain h_i,t                          a trace of what the synapse brings
    e_ji,t = psi_j,t x_i,t                                      its eligibility
    ebar_ji,t = kappa ebar_ji,t-1 + e_ji,t                      as the readout will see it
    gW_ji = < sum_t L_j,t ebar_ji,t >,   L_j,t = gain_out sum_k B_jk eps_k,t

with psi the surrogate slope at the unit's potential, kappa the readout's decay and eps its error.
h is the train from below, or, for recurrent weights, the layer's own spikes of the step before.
What an earlier spike did by way of other units is left out: that is the whole difference from
backpropagation through time where B = W_out^T and one layer is hidden.

A unit whose threshold adapts remembers by it, too: its synapses have a second, slow trace (eqs. 24
and 25), with beta what a spike adds to the threshold and rho what is left of it a step later:

    a_ji,t+1 = psi_j,t x_i,t + (rho - beta psi_j,t) a_ji,t
    e_ji,t = psi_j,t (x_i,t - beta a_ji,t)

The last filter commutes with the sum over time, and so does the slow trace: they are on the error
instead, backwards, which is the same number and costs no trace for each synapse. The loss reads a
mean over steps, so that eps is known after the last one in any case.

The paper's rate regularisation and its reward-based form are not here. As in the paper, traces do
not see the reset.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Dense, Layer, LayerTrace, Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep, shifted
from bioplaus.numerics.membrane import leak
from bioplaus.numerics.random_streams import Stream

from .feedback import FixedFeedbackConfig


class EPropConfig(FixedFeedbackConfig):
    broadcast: Literal["random", "symmetric"] = Field(
        "random",
        description="B: fixed random weights from the readout to every layer, or the readout's "
        "own, which reach the layer below it alone",
    )
    traces: bool = Field(
        True,
        description="false for a control: each step's error meets the activity of that step alone, "
        "in the layers below the readout; direct feedback alignment of the network unrolled",
    )


class EProp(LayeredRule[EPropConfig]):
    """E-prop: a trace of each synapse's past, times what the readout says of its unit now."""

    name = "e-prop"
    Config = EPropConfig
    in_time = True
    recurrent = True
    stackable = frozenset({"feedback_gain"})
    citation = Citation(
        authors="Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein and Maass",
        title="A solution to the learning dilemma for recurrent networks of spiking neurons",
        year=2020,
        venue="Nature Communications 11",
        identifier="doi:10.1038/s41467-020-17236-y",
        equations="those of its code, IGITUGraz/eligibility_propagation",
    )

    @property
    def search_space(self) -> SearchSpace:
        space: SearchSpace = {"optimizer.lr": LEARNING_RATE}
        return space if self._symmetric else {**space, "feedback_gain": Around(0.5)}

    @property
    def scales(self) -> frozenset[str]:
        return frozenset({"feedback_gain"})

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose" if self._symmetric else "none",
            phases="one broadcast of the output's error",
            update_locking=True,
            backward_locking=False,
            local=True,
            needs_derivative="local",
            signed_errors="yes",
            auxiliary="a trace for each synapse"
            if self._symmetric
            else "a trace for each synapse, feedback weights from the readout to every layer",
            note="a readout that spikes has its own slope in what is broadcast",
        )

    @property
    def _symmetric(self) -> bool:
        return self.config.broadcast == "symmetric"

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if not net.layers[0].in_time:
            return "its units are spiking ones: it trains networks in time alone"
        for l in range(net.bottom, net.top + 1):
            if reason := _why_no_traces(net.layers[l], is_readout=l == net.top):
                return f"layer {l + 1}: {reason}"
        if self._symmetric and net.top - net.bottom > 1:
            return (
                "a symmetric broadcast, by the readout's weights, reaches one hidden layer, and "
                f'there are {net.top - net.bottom}: set broadcast = "random"'
            )
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if self._symmetric:
            return State({}, {})
        (outputs,), init = net.layers[net.top].unit_shape, self.config.feedback()
        drawn = {
            f"{l + 1}.feedback": init.weight(
                stream.at("feedback", l + 1), net.layers[l].unit_shape[0], outputs
            )
            for l in range(net.bottom, net.top)
        }
        return State(aux={}, memory=drawn)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        """psi_t L_t of hidden layers, L with the readout's filter, and the readout's own error."""
        net, top = fwd.net, fwd.net.top
        readout, step = net.layers[top], fwd.trace[top]
        error = fwd.error
        for l in range(net.depth - 1, top, -1):
            error = net.layers[l].adjoint({}, fwd.trace[l].residuals, error)
        own = readout.pull(step, error)
        said = own if self.config.traces else _neuron(readout).gain * step.slope * error
        deltas = [torch.zeros_like(passed.slope) for passed in fwd.trace]
        deltas[top] = own
        for l in range(net.bottom, top):
            signal = readout.adjoint({"weight": self._from_readout(fwd, l)}, step.residuals, said)
            deltas[l] = self._eligible(net.layers[l], fwd.trace[l], signal)
        return deltas

    def _eligible(self, layer: Layer, step: LayerTrace, signal: Tensor) -> Tensor:
        """psi_t L_t, and what the unit's threshold remembers of its spikes."""
        neuron = _neuron(layer)
        if not (neuron.adaptation and self.config.traces):
            return step.slope * signal
        slow = replace(neuron, decay=0.0, gain=1.0)  # the fast memory and gain are in the traces
        return slow.pull(step.slope, step.preactivation, step.output, signal)

    def _from_readout(self, fwd: ForwardPass, l: int) -> Tensor:
        """B of layer l in the shape of the readout's weights, (outputs, n_l)."""
        if self._symmetric:
            return fwd.net.at(fwd.params, fwd.net.top)["weight"]
        return fwd.net.at(fwd.state.memory, l)["feedback"].T

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        net, top = fwd.net, fwd.net.top
        grads = net.layers[top].weight_grad(fwd.trace[top].residuals, deltas[top])
        hidden = [
            {
                name: d.flatten(0, 1).T @ train.flatten(0, 1) / len(d)
                for name, train in self._traces(net.layers[l], fwd.trace[l]).items()
            }
            for l, d in enumerate(deltas[:top])
            if l >= net.bottom
        ]
        for part in hidden:
            if "bias" in part:
                part["bias"] = part["bias"][:, 0]
        return net.join([*hidden, grads], first=net.bottom)

    def _traces(self, layer: Layer, step: LayerTrace) -> dict[str, Tensor]:
        """x, (N, T, inputs), of what each of the layer's parameters brings to its units."""
        assert isinstance(layer, AtEachStep) and isinstance(layer.inner, Dense)
        brings = {"weight": shifted(step.input, layer.delay)}
        if layer.inner.bias:
            brings["bias"] = torch.ones_like(step.slope[..., :1])
        if isinstance(layer, Recurrent):
            brings["recurrent"] = shifted(step.output, 1)
        neuron = _neuron(layer)
        currents = {name: neuron.gain * train for name, train in brings.items()}
        if not self.config.traces:
            return currents
        return {name: leak(train, neuron.decay) for name, train in currents.items()}


def _neuron(layer: Layer) -> Neuron:
    assert isinstance(layer.activation, Neuron)
    return layer.activation


def _why_no_traces(layer: Layer, *, is_readout: bool) -> str | None:
    """None where its synapses can have traces, else the reason they cannot."""
    neuron = layer.activation
    if not isinstance(layer, AtEachStep) or type(layer.inner) is not Dense:
        return f"a {layer.kind} layer has no traces; it trains dense ones"
    if not isinstance(neuron, Neuron):
        return "its units have no membrane, whose memory the traces follow"
    if is_readout:
        recurs = isinstance(layer, Recurrent)
        return "it is the readout, which has no recurrent weights here" if recurs else None
    if not neuron.fires:
        return "its units do not spike, and the readout alone may be an integrator"
    if neuron.reset != "subtract" or neuron.through_reset:
        return "its traces pass by the reset: that is a subtraction, and through_reset is false"
    return None
