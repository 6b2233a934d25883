"""Examples that are trains themselves, and readouts that ask at the end."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Dense, Init
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron, Triangle
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.tasks.task import read_task
from tests.helpers.networks import autograd_grads, draw, every_seed, get_rule, run_rule, worst
from tests.helpers.spiking import image_batch, lively_params


def test_a_sequence_is_the_rows_of_an_image_and_errors_find_their_way_back() -> None:
    layer = Encode((1, 4, 3), 4, "sequence")
    assert (layer.in_shape, layer.out_shape, layer.unit_shape) == ((1, 4, 3), (4, 3), (3,))
    x = draw(0, "x", 2, 1, 4, 3)
    train, residuals = layer.forward({}, x)
    for t in range(4):
        assert train[:, t].equal(x[:, 0, t])
    assert layer.adjoint({}, residuals, train).equal(x)


def test_what_is_no_sequence_of_so_many_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="9 values are no sequence of 4 equal parts"):
        Encode((3, 3), 4, "sequence")


@every_seed
@pytest.mark.parametrize("last", [1, 3, 7, None])
def test_a_readout_of_the_last_steps_is_their_mean_and_its_adjoint_the_transpose(
    last: int | None, seed: int
) -> None:
    layer = Readout((5,), 7, last)
    h, d = draw(seed, "h", 3, 7, 5), draw(seed, "d", 3, 5)
    a, residuals = layer.forward({}, h)
    assert torch.allclose(a, h[:, -(last or 7) :].mean(1), rtol=0, atol=1e-14)
    assert float(((a * d).sum() - (h * layer.adjoint({}, residuals, d)).sum()).abs()) <= 1e-13


@pytest.mark.parametrize("last", [0, 8])
def test_a_readout_of_steps_that_there_are_not_is_refused(last: int) -> None:
    with pytest.raises(ConfigError, match="of 7"):
        Readout((5,), 7, last)


def rows(last: int | None) -> Network:
    unit = Neuron(0.8, 0.7, surrogate=Triangle(0.5))
    layers = (
        Encode((1, 6, 5), 6, "sequence"),
        Recurrent(Dense(5, 12), 6, unit),
        AtEachStep(Dense(12, 4), 6, Neuron(0.9, fires=False)),
        Readout((4,), 6, last),
    )
    return Network(layers, get_loss("cross_entropy"), 4, Init("lecun_normal", 2**0.5))


@every_seed
def test_backprop_through_such_a_network_is_autograds_gradient(seed: int) -> None:
    net = rows(2)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    grads = run_rule("backprop", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-12
    assert grads["2.recurrent"].any()


@every_seed
def test_without_traces_nothing_is_learned_of_what_was_before_the_answer(seed: int) -> None:
    """With one step to answer at, that step's row is all that the input weights see; traces
    reach back to all of them."""
    net = rows(1)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    batch.x[:, :, -1] = 0
    now = run_rule("e-prop", net, params, batch, traces=False).grads["2.weight"]
    past = run_rule("e-prop", net, params, batch).grads["2.weight"]
    assert not now.any() and past.any()


def test_desires_are_over_all_steps() -> None:
    net = read_task("digits-spiking").build_network()
    asked = Network((*net.layers[:-1], Readout((10,), 20, 5)), net.loss, 10)
    assert "the readout is of the last ones" in (
        get_rule("desire-backpropagation").supports(asked) or ""
    )


@pytest.mark.parametrize(
    ("name", "widths", "steps"),
    [("delayed-match-spiking", (10, 20, 2), 16), ("digits-rows-spiking", (8, 200, 10), 8)],
)
def test_tasks_that_need_memory(name: str, widths: tuple[int, ...], steps: int) -> None:
    encode, hidden, top, readout = read_task(name).build_network().layers
    assert isinstance(encode, Encode) and encode.how == "sequence"
    assert isinstance(hidden, Recurrent) and isinstance(readout, Readout) and readout.last == 1
    assert (encode.unit_shape[0], hidden.unit_shape[0], top.unit_shape[0]) == widths
    assert {k.steps for k in (encode, hidden, readout)} == {steps}
