"""E-prop on units whose threshold adapts: against autograd, and slow traces for each synapse."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron, Triangle
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import every_seed, get_rule, run_rule, worst
from tests.helpers.spiking import grads_step_by_step, image_batch, lively_params, spiking_network

BETA, RHO = 0.3, 0.9
UNIT = Neuron(0.8, 0.6, "subtract", 1, 0.7, Triangle(0.3), adaptation=BETA, adaptation_decay=RHO)
TOP = Neuron(0.8, fires=False, gain=0.6)
STEPS = 12


def network(*widths: int, delay: int = 0) -> Network:
    return spiking_network(widths, UNIT, STEPS, top=TOP, delay=delay, recurrent=True)


@every_seed
@pytest.mark.parametrize("delay", [0, 1])
def test_symmetric_e_prop_is_autograd_with_the_recurrent_spikes_cut(delay: int, seed: int) -> None:
    net = network(16, 20, 5, delay=delay)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    grads = run_rule("e-prop", net, params, batch, broadcast="symmetric").grads
    assert worst(grads, grads_step_by_step(net, params, batch, cut=True)) <= 1e-10
    assert worst(grads, run_rule("backprop", net, params, batch).grads) > 1e-3


def by_eligibility(net: Network, params: Params, batch: Batch, feedback: Params) -> Params:
    """Bellec et al. 2020, eqs. 22 to 25, hidden layers': two traces a synapse, forward."""
    trace = net.forward(params, batch.x)
    eps = net.loss.error(trace[-1].output, batch.y) / STEPS
    grads: Params = {}
    for l in range(1, net.depth - 2):
        step, name = trace[l], f"{l + 1}."
        signal = TOP.gain * eps @ feedback[name + "feedback"].T
        nothing = torch.zeros_like(step.output[:, :1])
        sources = {
            "weight": step.input,
            "recurrent": torch.cat([nothing, step.output[:, :-1]], 1),
            "bias": torch.ones(len(batch.x), STEPS, 1).double(),
        }
        for source, train in sources.items():
            fast = torch.zeros_like(train[:, 0])
            slow = torch.zeros(*step.output[:, 0].shape, train.shape[-1]).double()
            filtered, total = torch.zeros_like(slow), torch.zeros_like(slow)
            for t in range(STEPS):
                psi = step.slope[:, t, :, None]
                fast = UNIT.decay * fast + UNIT.gain * train[:, t]
                filtered = TOP.decay * filtered + psi * (fast[:, None] - BETA * slow)
                slow = psi * fast[:, None] + (RHO - BETA * psi) * slow
                total = total + signal[:, :, None] * filtered
            mean = total.mean(0)
            grads[name + source] = mean[:, 0] if source == "bias" else mean
    return grads


@every_seed
def test_random_e_prop_is_the_sum_over_both_traces_forward_in_time(seed: int) -> None:
    net = network(16, 20, 12, 5)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    state = get_rule("e-prop").init_state(net, params, Stream(seed).at("state"))
    grads = run_rule("e-prop", net, params, batch, state=state).grads
    expected = by_eligibility(net, params, batch, state.memory)
    assert len(expected) == 6
    assert worst({name: grads[name] for name in expected}, expected) <= 1e-10


def test_desire_backpropagation_knows_fixed_thresholds_alone() -> None:
    unit = Neuron(0.75, adaptation=BETA, adaptation_decay=RHO)
    net = spiking_network((4, 3), unit, 20, bias=False)
    assert "thresholds adapt" in (get_rule("desire-backpropagation").supports(net) or "")
