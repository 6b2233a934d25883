"""Spiking neurons: what they charge, when they fire, and what errors see of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.network.neuron import Neuron, Surrogate, parse_surrogate
from bioplaus.network.time import Encode
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import draw, every_seed, rel
from tests.helpers.spiking import SURROGATES, Unit, smooth


def by_steps(neuron: Neuron, a: Tensor) -> tuple[Tensor, Tensor]:
    unit = Unit(neuron)
    pairs = [unit.step(a[:, t]) for t in range(a.shape[1])]
    u, s = (torch.stack(part, 1) for part in zip(*pairs, strict=True))
    return u, s


@every_seed
@pytest.mark.parametrize("decay", [1.0, 0.75, 0.0])
def test_what_came_in_is_in_the_potential_or_was_spent(decay: float, seed: int) -> None:
    neuron = Neuron(decay, threshold=0.8, gain=0.5)
    a = 1.5 * draw(seed, "currents", 6, 25, 7)
    u, s = neuron.run(a)
    assert s.any()
    kept = decay ** torch.arange(24, -1, -1).double()[:, None]
    charge = (kept * (0.5 * a - 0.8 * s)).sum(1)
    assert float((u[:, -1] - 0.8 * s[:, -1] - charge).abs().max()) <= 1e-12


@every_seed
def test_a_constant_current_fires_at_its_rate(seed: int) -> None:
    x = Stream(seed).at("x").uniform((8, 9))
    current = Encode((9,), 100, "current").forward({}, x)[0]
    _, spikes = Neuron().run(current)
    assert spikes.equal(by_steps(Neuron(), x[:, None].expand(-1, 100, -1))[1])
    assert spikes.equal(Encode((9,), 100, "accumulate").forward({}, x)[0])
    assert float((spikes.sum(1) - 100 * x).abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("refractory", [1, 3, 7])
def test_the_shortest_interval_is_one_more_than_the_refractory_period(refractory: int) -> None:
    _, spikes = Neuron(refractory=refractory).run(torch.full((1, 60, 1), 5.0))
    at = spikes[0, :, 0].nonzero().flatten()
    assert at.diff().tolist() == [refractory + 1] * (len(at) - 1)
    assert at[0] == 0


@every_seed
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("refractory", [0, 2])
def test_runs_are_the_equations_step_by_step(reset: str, refractory: int, seed: int) -> None:
    neuron = Neuron(0.75, 0.9, reset, refractory)  # type: ignore[arg-type]
    a = draw(seed, "currents", 3, 15, 4)
    for ours, theirs in zip(neuron.run(a), by_steps(neuron, a), strict=True):
        assert ours.equal(theirs)


@every_seed
def test_replicas_are_run_apart(seed: int) -> None:
    neuron = Neuron(0.9, refractory=1)
    a = draw(seed, "currents", 3, 4, 12, 5)
    for dim in (0, 2):
        together = torch.vmap(neuron.run, in_dims=dim)(a)
        for r in range(a.shape[dim]):
            for ours, alone in zip(together, neuron.run(a.select(dim, r)), strict=True):
                assert ours[r].equal(alone)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_a_surrogate_is_the_slope_of_its_smooth_step(
    surrogate: Surrogate, threshold: float
) -> None:
    x = draw(0, "distances", 200).requires_grad_()
    (slope,) = torch.autograd.grad(smooth(surrogate, x, threshold).sum(), x)
    assert rel(surrogate.slope(x.detach(), threshold), slope) <= 1e-14


def test_no_slope_while_refractory() -> None:
    slopes = Neuron(refractory=3).slope_at(torch.full((1, 9, 1), 1.0))[0, :, 0]
    assert (slopes > 0).tolist() == [True, False, False, False, True] + [False] * 3 + [True]


@every_seed
def test_a_leaky_integrator_is_linear(seed: int) -> None:
    neuron = Neuron(0.8, fires=False)
    a, e = draw(seed, "a", 2, 10, 3), draw(seed, "e", 2, 10, 3)
    u, s = neuron.run(a)
    assert u.equal(s) and u.equal(neuron(a))
    d = neuron.pull(neuron.slopes(u, s), u, s, e)
    assert float(((u * e).sum() - (a * d).sum()).abs()) <= 1e-12


def test_surrogates_by_name() -> None:
    assert str(parse_surrogate("superspike")) == "superspike(10.0)"
    assert str(parse_surrogate(" triangle( .5 )")) == "triangle(0.5)"
    with pytest.raises(UnknownNameError, match="atan"):
        parse_surrogate("aatan")
    for text in ("atan(0)", "atan(-1)", "atan(nan)", "atan(x)", "atan(1", "atan(inf)"):
        with pytest.raises(ConfigError):
            parse_surrogate(text)


@pytest.mark.parametrize(
    "fields", [{"decay": -0.1}, {"decay": 1.1}, {"threshold": 0.0}, {"refractory": -1}]
)
def test_impossible_neurons_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Neuron(**fields)  # type: ignore[arg-type]
