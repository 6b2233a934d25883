"""Neurons against those of spikingjelly and snnTorch, where the conventions agree.

Where they do not, and nothing is compared: snnTorch fires above the threshold, not at it, which no
draw here meets; its reset by subtraction acts a step later, on a potential that has decayed since,
so it is the same at a decay of 1 alone, or where it resets at once (`reset_delay=False`) and no
potential stays above the threshold. spikingjelly's errors go through the reset unless it is told
otherwise, its potential averages the current by default, and its latency and Poisson encoders
spike for an input of 0. Neither has refractory periods.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.network.neuron import Atan, Neuron, Reset, SuperSpike
from tests.helpers.networks import draw, every_seed, rel

SHAPE = (4, 25, 6)


def ours(neuron: Neuron, a: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials, spikes, and the gradient of sum(e s) in the currents."""
    u, s = neuron.run(a)
    return u, s, neuron.pull(neuron.slopes(u, s), u, s, e)


def theirs(step: Any, a: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a module that takes the currents of one step; potentials as it keeps them."""
    a = a.clone().requires_grad_()
    pairs = [step(a[:, t]) for t in range(a.shape[1])]
    s, v = (torch.stack(part, 1) for part in zip(*pairs, strict=True))
    (gradient,) = torch.autograd.grad((s * e).sum(), a)
    return v.detach(), s.detach().double(), gradient


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Currents below the threshold of 1 in size, and errors that float32 holds."""
    return 2 * draw(seed, "currents", *SHAPE).sigmoid() - 0.8, draw(seed, "e", *SHAPE).float()


def same(found: Tensor, due: Tensor, tolerance: float = 1e-12) -> bool:
    return bool(due.any()) and rel(found, due) <= tolerance


@every_seed
@pytest.mark.parametrize("through_reset", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("decay", ["integrate", "leak", "average"])
def test_spikingjelly(decay: str, reset: Reset, through_reset: bool, seed: int) -> None:
    neurons = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogates = pytest.importorskip("spikingjelly.activation_based.surrogate")
    common = {
        "v_threshold": 0.5,
        "v_reset": None if reset == "subtract" else 0.0,
        "surrogate_function": surrogates.ATan(alpha=2.0),
        "detach_reset": not through_reset,
    }
    if decay == "integrate":
        module = neurons.IFNode(**common)
    else:
        module = neurons.LIFNode(tau=4.0, decay_input=decay == "average", **common)
    rho = 1.0 if decay == "integrate" else 0.75
    unit = Neuron(rho, 0.5, reset, 0, 0.25 if decay == "average" else 1.0, Atan(2.0), through_reset)
    a, e = drawn(seed)
    e = e.double()
    u, s, gradient = ours(unit, 2 * a, e)
    kept, spikes, grads = theirs(lambda current: (module(current), module.v), 2 * a, e)
    assert spikes.equal(s) and s.any()
    after = u - 0.5 * s if reset == "subtract" else (1 - s) * u
    assert same(kept, after) and same(gradient, grads)


@every_seed
@pytest.mark.parametrize("surrogate", ["superspike", "atan"])
@pytest.mark.parametrize(
    ("decay", "reset"), [(1.0, "subtract"), (1.0, "zero"), (0.75, "zero"), (0.0, "zero")]
)
def test_snntorch(decay: float, reset: Reset, surrogate: str, seed: int) -> None:
    snn = pytest.importorskip("snntorch")
    slope, unit_slope = (
        (snn.surrogate.fast_sigmoid(10), SuperSpike(10.0)) if surrogate == "superspike"
        else (snn.surrogate.atan(2.0), Atan(2.0))
    )  # fmt: skip
    module = snn.Leaky(beta=decay, threshold=0.5, spike_grad=slope, reset_mechanism=reset)
    memory = [torch.zeros(SHAPE[0], SHAPE[2], dtype=torch.float64)]

    def step(current: Tensor) -> tuple[Tensor, Tensor]:
        s, mem = module(current, memory[-1])
        memory.append(mem)
        return s, mem

    a, e = drawn(seed)
    u, s, gradient = ours(Neuron(decay, 0.5, reset, surrogate=unit_slope), a, e.double())
    kept, spikes, grads = theirs(step, a, e)
    assert spikes.equal(s) and s.any()
    assert same(kept, u) and same(gradient, grads)


@every_seed
def test_snntorch_resets_at_once(seed: int) -> None:
    snn = pytest.importorskip("snntorch")
    module = snn.Leaky(
        beta=0.75, threshold=1.0, spike_grad=snn.surrogate.atan(2.0), reset_delay=False
    )
    memory = [torch.zeros(SHAPE[0], SHAPE[2], dtype=torch.float64)]

    def step(current: Tensor) -> tuple[Tensor, Tensor]:
        s, mem = module(current, memory[-1])
        memory.append(mem)
        return s, mem

    a, e = drawn(seed)
    neuron = Neuron(0.75, 1.0, surrogate=Atan(2.0), through_reset=True)
    u, s, gradient = ours(neuron, a, e.double())
    kept, spikes, grads = theirs(step, a, e)
    assert float((u - s).max()) < 1  # no potential stays above the threshold
    assert spikes.equal(s) and s.any()
    assert same(kept, u - s)
    assert same(gradient, grads, 1e-6)  # errors pass their spikes, which are float32
