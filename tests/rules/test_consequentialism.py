"""The consequentialism wrapper: affine projection and NLMS over any layered rule's deltas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import batched_update, stack, unstack
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import Tanh
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import Flatten
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.consequentialism import column_side, row_side
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    condition,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)

LEAKY = "leaky_relu(0.1)"


def deltas_of(net: Network, params: Params, batch: Batch, base: str, **options: object) -> Params:
    """Each example's own d_l, (N, n_l): the bias gradients of single examples."""
    singles = [run_rule(base, net, params, one, **options).grads for one in single_examples(batch)]
    names = [name for name in params if name.endswith("bias")]
    return {name[:-5]: torch.stack([grads[name] for grads in singles]) for name in names}


def inputs_of(net: Network, params: Params, batch: Batch) -> list[Tensor]:
    """h_{l-1} with a column of ones, of dense layers."""
    trace = net.forward(params, batch.x)
    return [torch.cat([step.input, torch.ones_like(step.input[:, :1])], 1) for step in trace]


def with_bias(grads: Params, l: int) -> Tensor:
    """[gW_l, gb_l] of a dense layer."""
    return torch.cat([grads[f"{l}.weight"], grads[f"{l}.bias"][:, None]], 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_t_cwu_1_gaussian_inputs_every_preactivation_moves_by_its_delta(seed: int) -> None:
    net = make_network((40, 12), "tanh", "mse", bias=False)
    params, batch = random_params(net, seed), random_batch(net, 20, seed)
    update = run_rule("consequentialism", net, params, batch, eps=0)
    trace = net.forward(params, batch.x)
    delta = trace[0].slope * net.loss.error(trace[0].output, batch.y)
    assert rel(batch.x @ update.grads["1.weight"].T, delta) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base", ["backprop", "gaitprop"])
def test_t_cwu_1_every_layer_at_full_row_rank(base: str, seed: int) -> None:
    net = make_network((30, 24, 24, 24), "tanh", "mse")
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    grads = run_rule("consequentialism", net, params, batch, base=base, eps=0).grads
    deltas = deltas_of(net, params, batch, base)
    for l, inputs in enumerate(inputs_of(net, params, batch), start=1):
        moved = inputs @ with_bias(grads, l).T
        assert rel(moved, deltas[f"{l}"]) <= EXACT * condition(inputs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_t_cwu_2_one_example_is_normalised_lms(eps: float, seed: int) -> None:
    net = make_network((9, 7, 5), LEAKY, "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 1, seed)
    apa, nlms = (
        run_rule("consequentialism", net, params, batch, eps=eps, form=form).grads
        for form in ("apa", "nlms")
    )
    assert worst(apa, nlms) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [4, 40])
def test_t_cwu_3_large_ridge_is_backprop(size: int, seed: int) -> None:
    net = make_network((9, 12, 5), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, size, seed)
    backprop = autograd_grads(net, params, batch)
    grads = run_rule("consequentialism", net, params, batch, eps=1e8).grads
    for l, inputs in enumerate(inputs_of(net, params, batch), start=1):
        eps = 1e8 * inputs.square().sum(1).mean()
        norm = torch.linalg.matrix_norm(inputs @ inputs.T, 2)
        expected = size * with_bias(backprop, l)
        assert rel(eps * with_bias(grads, l), expected) <= norm / eps


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_t_cwu_4_both_gram_sides_agree(shape: tuple[int, int], seed: int) -> None:
    stream = Stream(seed)
    inputs = stream.at("inputs").normal(shape)
    delta = stream.at("delta").normal((shape[0], 6))
    eps = 1e-2 * torch.diagonal(inputs @ inputs.T).mean()
    assert rel(row_side(inputs, delta, eps), column_side(inputs, delta, eps)) <= 1e-10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("form", ["apa", "nlms"])
def test_t_cwu_the_formulas_on_either_side_of_the_gram_matrix(
    form: str, size: int, seed: int
) -> None:
    net = make_network((9, 14, 5), LEAKY, "mse")
    params, batch = random_params(net, seed), random_batch(net, size, seed)
    grads = run_rule("consequentialism", net, params, batch, form=form, eps=0.05).grads
    deltas = deltas_of(net, params, batch, "backprop")
    for l, inputs in enumerate(inputs_of(net, params, batch), start=1):
        eps = 0.05 * float(inputs.square().sum(1).mean())
        if form == "apa":
            gram = inputs @ inputs.T + eps * torch.eye(size, dtype=torch.float64)
            expected = deltas[f"{l}"].T @ torch.linalg.inv(gram) @ inputs
        else:
            terms = [
                torch.outer(d, h) / (h @ h + eps)
                for d, h in zip(deltas[f"{l}"], inputs, strict=True)
            ]
            expected = torch.stack(terms).mean(0)
        assert rel(with_bias(grads, l), expected) <= 1e-11


@pytest.mark.parametrize("kind", ["dense", "tower"])
@pytest.mark.parametrize("bias", [True, False])
def test_design_has_the_weight_gradient(kind: str, bias: bool) -> None:
    net = make_network((9, 9, 6, 4), LEAKY, "mse", kind=kind, bias=bias)
    params, batch = random_params(net, 0), random_batch(net, 7, 0)
    for l, step in enumerate(net.forward(params, batch.x)):
        d = Stream(0).at("d", l).normal(step.output.shape)
        design = net.layers[l].design(step.residuals, d)
        assert design is not None
        rows, delta = design
        expected = net.layers[l].weight_grad(step.residuals, d)["weight"]
        assert rel(delta.T @ rows / 7, expected) <= EXACT


CONVOLUTION = Conv2d((3, 6, 5), 4, 3, stride=2, padding=1, activation=Tanh(), reads=2)


def convolutional() -> Network:
    flat = Flatten(CONVOLUTION.out_shape)
    top = Dense(flat.out_shape[0], 5)
    return Network((CONVOLUTION, flat, top), get_loss("cross_entropy"), 5)


def conv_params(net: Network, seed: int) -> Params:
    drawn = net.init(Stream(seed))
    return {name: 0.4 * Stream(seed).at(name).normal(t.shape) for name, t in drawn.items()}


def patches(x: Tensor) -> Tensor:
    """The inputs of every output place of CONVOLUTION, cut out one by one, then a one."""
    padded = torch.nn.functional.pad(x[:, :2], (1, 1, 1, 1))
    rows = [
        torch.cat([image[:, i : i + 3, j : j + 3].flatten(), x.new_ones(1)])
        for image in padded
        for i in range(0, 6, 2)
        for j in range(0, 5, 2)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", ["apa", "nlms"])
def test_t_cwu_a_convolutions_rows_are_its_patches(form: str, seed: int) -> None:
    net = convolutional()
    params, batch = conv_params(net, seed), random_batch(net, 4, seed)
    trace = net.forward(params, batch.x)
    error = net.loss.error(trace[-1].output, batch.y)
    below = (error @ params["3.weight"]).reshape(trace[0].output.shape)
    delta = (trace[0].slope * below).permute(0, 2, 3, 1).reshape(-1, 4)
    rows = patches(batch.x)
    eps = 0.05 * rows.square().sum(1).mean()
    if form == "apa":
        gram = rows.T @ rows + eps * torch.eye(19, dtype=torch.float64)
        expected = delta.T @ rows @ torch.linalg.inv(gram)
    else:
        expected = (delta / (rows.square().sum(1, keepdim=True) + eps)).T @ rows / len(rows)
    grads = run_rule("consequentialism", net, params, batch, form=form, eps=0.05).grads
    assert grads.keys() == params.keys()
    assert rel(grads["1.weight"].flatten(1), expected[:, :-1]) <= 1e-11
    assert rel(grads["1.bias"], expected[:, -1]) <= 1e-11


def test_convolutions_of_replicas_together_equal_each_alone() -> None:
    net, rule = convolutional(), get_rule("consequentialism")
    params = [conv_params(net, seed) for seed in range(3)]
    batches = [random_batch(net, 4, seed) for seed in range(3)]
    together = batched_update(rule, net)(
        stack(params),
        State({}, {}),
        Batch(*(torch.stack(t) for t in zip(*batches, strict=True))),
        {},
    ).grads
    for i in range(3):
        alone = rule.update(net, params[i], State({}, {}), batches[i], {}).grads
        assert worst(unstack(together, i), alone) <= EXACT


@pytest.mark.parametrize("form", ["apa", "nlms"])
def test_auxiliary_units_of_a_tower_and_layers_without_bias(form: str) -> None:
    net = make_network((12, 12, 8, 4), LEAKY, "mse", kind="tower", bias=False)
    params, batch = random_params(net, 0), random_batch(net, 6, 0)
    grads = run_rule("consequentialism", net, params, batch, form=form).grads
    assert {name: g.shape for name, g in grads.items()} == {n: p.shape for n, p in params.items()}
    assert not grads["1.weight"][8:].any()
