"""Desire backpropagation: spiking layers learn by STDP, gated by whether a unit should spike.

Forward, T steps of leaky integrate-and-fire units. With r_l = sum_t s_{l,t} / (T - margin) each
unit then has a desire D to be active or not, and may act on it (A = 1):

    top     D_L = y,   A_L = 1[ (y ? 1 - r_L : r_L) > output_threshold ]
    below   q_{l-1} = W_l^T ( |D_l - r_l| sigma_l ),   sigma_l = (2 D_l - 1) A_l
            D_{l-1} = 1[ q > 0 ],   A_{l-1} = 1[ |q| >= hidden_threshold ]

and every synapse learns from a trace of its own input and the spikes of its own unit:

    x_{l,t} = decay x_{l,t-1} + h_{l,t},     gW_l = - < sum_t (s_{l,t} sigma_l) x_{l,t}^T >

where h is the train as it arrives. The same sum with the trace on the other side, backwards in
time, d_{l,t} = decay d_{l,t+1} - s_{l,t} sigma_l and gW_l = < sum_t d_{l,t} h_{l,t}^T >, is what is
computed. No derivative of a spike stands in it; a unit that is silent does not learn.

The text of the paper was not at hand: equations and defaults are those of its authors' code, to
which an independent implementation was compared, spike by spike. Its dropout, of whole units and
their desires, is not here, and neither is its other rule for convolutions. It applies updates by
plain SGD, one example at a time, over hundreds of epochs; in tens of epochs Adam gets further.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.rule import RuleConfig
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Dense, Layer
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.time import AtEachStep
from bioplaus.numerics.membrane import leak

_ABSTRACT = "Gerlinghoff et al. 2023, abstract"


class DesireConfig(RuleConfig):
    """Defaults are those of the authors' code."""

    output_threshold: float = Field(
        0.3, description="an output unit acts where its rate is further than this from its target"
    )
    hidden_threshold: float = Field(
        0.05, description="a hidden unit acts where |q| is no less; smaller for wider layers"
    )
    margin: int = Field(4, ge=0, description="steps without a spike that a rate of 1 may have")


class DesireBackpropagation(LayeredRule[DesireConfig]):
    """Desire backpropagation: STDP in spiking layers, towards the activity each unit desires."""

    name = "desire-backpropagation"
    Config = DesireConfig
    in_time = True
    needs = "classes"
    stackable = frozenset({"hidden_threshold", "output_threshold"})
    citation = Citation(
        authors="Gerlinghoff, Luo, Goh and Wong",
        title="Desire backpropagation: a lightweight training algorithm for multi-layer spiking "
        "neural networks based on spike-timing-dependent plasticity",
        year=2023,
        venue="Neurocomputing",
        identifier="doi:10.1016/j.neucom.2023.126773",
        equations="arXiv:2211.05412; its code, desire_pytorch.py",
    )
    published = tuple(
        Published(
            metric=f"{data} test accuracy", value=value, note="three layers", source=_ABSTRACT
        )
        for data, value in (("mnist", 0.9841), ("fashion-mnist", 0.8756))
    )

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "hidden_threshold": Around(1.0)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases="one pass down of ternary signals, after the last step",
            update_locking=True,
            backward_locking=True,
            local=True,
            needs_derivative="no",
            signed_errors="yes",
            auxiliary="a trace for each synapse's input",
            note="what comes down is weighted by the distance of rates from desires",
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if not net.layers[0].in_time:
            return "its units are spiking ones: it trains networks in time alone"
        for l, layer in enumerate(net.layers[net.bottom : net.top + 1], net.bottom + 1):
            if reason := _why_not_desirous(layer):
                return f"layer {l}: {reason}"
        top = net.layers[net.top]
        assert isinstance(top, AtEachStep)
        if top.unit_shape != (net.classes,):
            return f"each of its {net.classes} classes is one output unit, of {top.unit_shape[0]}"
        if getattr(net.layers[-1], "last", None) is not None:
            return "its rates are over all steps, and the readout is of the last ones alone"
        if self.config.margin >= top.steps:
            return f"margin {self.config.margin} leaves nothing of {top.steps} steps"
        return None

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        net, config = fwd.net, self.config
        desire = fwd.batch.y
        missing = (desire - _rates(fwd, net.top, config.margin)) * (2 * desire - 1)
        acts = missing > config.output_threshold
        deltas = [torch.zeros_like(step.slope) for step in fwd.trace]
        for l in range(net.top, net.bottom - 1, -1):
            layer, step = net.layers[l], fwd.trace[l]
            assert isinstance(layer, AtEachStep) and isinstance(layer.activation, Neuron)
            sign = (2 * desire - 1) * acts
            deltas[l] = -leak(step.output * sign[:, None], layer.activation.decay, backwards=True)
            if l > net.bottom:
                residuals, p = step.residuals[0], net.at(fwd.params, l)
                rates = _rates(fwd, l, config.margin)
                q = layer.inner.adjoint(p, residuals, (desire - rates).abs() * sign)
                desire, acts = (q > 0).to(q.dtype), q.abs() >= config.hidden_threshold
        return deltas


def _rates(fwd: ForwardPass, l: int, margin: int) -> Tensor:
    """r_l, (N, n_l); 1 with a spike at all but `margin` steps, and more with more."""
    spikes = fwd.trace[l].output
    return spikes.sum(1) / (spikes.shape[1] - margin)


def _why_not_desirous(layer: Layer) -> str | None:
    """None where its units can have desires, else the reason they cannot."""
    neuron = layer.activation
    if not isinstance(layer, AtEachStep) or not isinstance(layer.inner, Dense):
        return f"a {layer.kind} layer has no desires; it trains dense ones"
    if layer.inner.bias:
        return "it has a bias, which no spike times teach"
    if not isinstance(neuron, Neuron) or not neuron.fires:
        return "its units do not spike"
    if neuron.reset != "subtract":
        return "its reset is to zero, and the rule's subtracts"
    if neuron.adaptation:
        return "its thresholds adapt, and the rule knows of fixed ones alone"
    return None
