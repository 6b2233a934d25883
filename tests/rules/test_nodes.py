"""Rules that relax over nodes: pooling and Flatten are none, a nested Sequential is one.

The oracle is written from the description of Torch2PC: a block is any module, its
prediction v - f(v_below), and n of its sweeps are n - 1 of the errors'.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bioplaus.errors import ConfigError
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import Flatten
from bioplaus.own_model.read_modules import read_modules
from tests.helpers.networks import (
    EXACT,
    autograd_grads,
    get_rule,
    make_convolutional,
    random_batch,
    rel,
    run_rule,
    worst,
)

ETA, SWEEPS = 0.1, 20


def convolutional() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(16, 5),
    ]  # fmt: skip


def blocks_of(modules: Sequence[nn.Module], sizes: Sequence[int]) -> list[nn.Sequential]:
    left = list(modules)
    return [nn.Sequential(*(left.pop(0) for _ in range(n))) for n in sizes]


def network(model: nn.Sequential) -> tuple[Network, dict[str, Tensor]]:
    reading = read_modules(model, (1, 8, 8))
    net = Network(reading.layers, get_loss("cross_entropy"), 5, nodes=reading.nodes)
    return net, {name: p.detach() for name, p in reading.parameters.items()}


def by_blocks(blocks: list[nn.Sequential], x: Tensor, y: Tensor, fixed: bool) -> list[Tensor]:
    """Predictive coding on blocks, each prediction differentiated by autograd."""
    v = [x]
    for block in blocks:
        v.append(block(v[-1]).detach())
    frozen = list(v)
    if fixed:
        errors = [torch.zeros_like(a) for a in v]
    loss = nn.CrossEntropyLoss(reduction="sum")
    out = v[-1].clone().requires_grad_()
    (top,) = torch.autograd.grad(loss(out, y), out)
    for _ in range(SWEEPS - 1):
        if fixed:
            errors[-1] = top
            came = [
                torch.autograd.functional.vjp(block, frozen[k], errors[k + 1])[1]
                for k, block in enumerate(blocks)
            ]
            for k in range(1, len(blocks)):
                errors[k] = errors[k] + ETA * (came[k] - errors[k])
        else:
            moved = [a.clone().requires_grad_() for a in v]
            energy = loss(blocks[-1](moved[-2]), y) + sum(
                0.5 * (moved[k + 1] - block(moved[k])).square().sum()
                for k, block in enumerate(blocks[:-1])
            )
            slopes = torch.autograd.grad(energy, moved[1:-1])
            v[1:-1] = [a - ETA * s for a, s in zip(v[1:-1], slopes, strict=True)]
    below = frozen if fixed else v
    grads: list[Tensor] = []
    for k, block in enumerate(blocks):
        prediction = block(below[k])
        if k == len(blocks) - 1:
            out = prediction.detach().requires_grad_()
            (error,) = torch.autograd.grad(loss(out, y), out)
        else:
            error = errors[k + 1] if fixed else (prediction - v[k + 1]).detach()
        grads += torch.autograd.grad(prediction, list(block.parameters()), error / len(x))
    return grads


CASES = {
    "one node to each layer with weights": ((3, 2, 2), False),
    "nested like that": ((3, 2, 2), True),
    "Flatten where it is read": ((3, 2, 2), True),
    "pooling where it is read": ((2, 3, 2), True),
    "two convolutions in one": ((5, 2), True),
}


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_convolutional_updates_are_those_of_blocks(case: str, fixed: bool) -> None:
    torch.manual_seed(0)
    (sizes, nested), modules = CASES[case], convolutional()
    model = nn.Sequential(*modules).double()
    blocks = blocks_of(modules, sizes)
    net, params = network(nn.Sequential(*blocks) if nested else model)
    assert len(net.node_layers()) == len(sizes)
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    y = torch.arange(6) % 5
    rule = get_rule("predictive-coding", fixed_prediction=fixed, step_size=ETA, steps=SWEEPS - 1)
    batch = Batch(x, one_hot(y, 5).double())
    grads = rule.update(net, params, State({}, {}), batch, {}).grads
    for (name, grad), expected in zip(grads.items(), by_blocks(blocks, x, y, fixed), strict=True):
        assert rel(grad, expected) <= EXACT, name


@pytest.mark.parametrize("name", ["predictive-coding-fixed", "activation-relaxation", "z-il"])
@pytest.mark.parametrize("nested", [False, True])
def test_at_rest_every_layer_has_backprops_update(name: str, nested: bool) -> None:
    """Whatever the nodes are."""
    torch.manual_seed(0)
    modules = convolutional()
    model = nn.Sequential(*(blocks_of(modules, (5, 2)) if nested else modules)).double()
    net, params = network(model)
    batch = random_batch(net, 6, 0)
    options = {} if name == "z-il" else {"steps": 60, "step_size": 0.5}
    grads = run_rule(name, net, params, batch, **options).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-11


def test_a_model_of_one_block_learns_by_backprop() -> None:
    model = nn.Sequential(nn.Sequential(*convolutional())).double()
    net, params = network(model)
    batch = random_batch(net, 6, 0)
    grads = run_rule("predictive-coding", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


def test_equilibrium_propagation_has_one_layer_with_weights_to_a_state() -> None:
    two = nn.Sequential(nn.Sequential(nn.Linear(9, 8), nn.Sigmoid(), nn.Linear(8, 7), nn.Sigmoid()))
    two.append(nn.Linear(7, 4))
    reading = read_modules(two, (9,))
    net = Network(reading.layers, get_loss("cross_entropy"), 4, nodes=reading.nodes)
    assert "several layers with weights" in str(get_rule("equilibrium-propagation").supports(net))
    flat = Network(reading.layers, net.loss, 4)
    assert get_rule("equilibrium-propagation").supports(flat) is None


@pytest.mark.parametrize("nodes", [(1, 1), (2, 0), (3,)])
def test_nodes_are_all_layers_in_order(nodes: tuple[int, ...]) -> None:
    net = make_convolutional()
    with pytest.raises(ConfigError, match="nodes"):
        Network(net.layers, net.loss, net.classes, nodes=nodes)


def test_layers_without_weights_belong_to_the_one_below() -> None:
    net = make_convolutional()  # convolution, pooling, convolution, Flatten, dense
    assert net.node_layers() == (range(2), range(2, 4), range(4, 5))
    first = Network((Flatten((2, 5, 4)), Dense(40, 6), Dense(6, 4)), net.loss, 4)
    assert first.node_layers() == (range(2), range(2, 3))
