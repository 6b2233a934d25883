"""Networks, parameters, batches and oracles, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bioplaus import registry
from bioplaus.activations import Identity, parse_activation
from bioplaus.layers import Dense, Layer, Params, Tower
from bioplaus.losses import Loss, get_loss
from bioplaus.network import Network
from bioplaus.pooling import Flatten, MaxPool2d
from bioplaus.replicas import NoiseSource, Rule, unstack
from bioplaus.rule import Batch, ForwardPass, State, Update
from bioplaus.spatial import Conv2d
from bioplaus.streams import Stream

EXACT = 1e-12
"""Relative tolerance in float64 of what holds exactly, up to rounding."""

SEEDS = range(10)

LAYERS: dict[str, type[Dense]] = {layer.kind: layer for layer in (Dense, Tower)}


def make_network(
    widths: Sequence[int],
    activation: str = "leaky_relu(0.1)",
    loss: str | Loss = "mse",
    *,
    kind: str = "dense",
    classes: int | None = None,
    bias: bool = True,
) -> Network:
    """Layers of one kind and activation; under cross-entropy the last is linear."""
    loss = get_loss(loss) if isinstance(loss, str) else loss
    hidden = parse_activation(activation)
    top = Identity() if loss.name == "cross_entropy" else hidden
    last = len(widths) - 2
    layers = tuple(
        LAYERS[kind](below, above, top if l == last else hidden, bias)
        for l, (below, above) in enumerate(pairwise(widths))
    )
    return Network(layers, loss, widths[-1] if classes is None else classes)


def make_convolutional(activation: str = "tanh", loss: str = "cross_entropy") -> Network:
    """A convolution, max-pooling, a convolution, flatten and a dense layer; 5 layers, 4 classes.

    Under cross-entropy the last is linear.
    """
    hidden = parse_activation(activation)
    top = Identity() if loss == "cross_entropy" else hidden
    layers: list[Layer] = [Conv2d((2, 5, 4), 3, 2, padding=1, activation=hidden)]
    layers.append(MaxPool2d(layers[-1].out_shape, 2))
    layers.append(Conv2d(layers[-1].out_shape, 4, 2, activation=hidden))
    layers.append(Flatten(layers[-1].out_shape))
    layers.append(Dense(*layers[-1].out_shape, 4, top))
    return Network(tuple(layers), get_loss(loss), 4)


def random_params(
    net: Network, seed: int, *, scheme: str = "orthogonal", bias: float = 0.5
) -> Params:
    """Orthogonal or Gaussian (variance 2 / (fan_in + fan_out)) weights, and Gaussian biases."""
    params = {}
    for name, blank in net.init(Stream(seed)).items():
        stream = Stream(seed).at("test parameters", name)
        if name.endswith("bias"):
            params[name] = bias * stream.normal(blank.shape)
        else:
            rows, columns = blank.flatten(1).shape
            params[name] = (
                stream.orthogonal(rows, columns).reshape(blank.shape)
                if scheme == "orthogonal"
                else (2 / (rows + columns)) ** 0.5 * stream.normal(blank.shape)
            )
    return params


def random_batch(net: Network, size: int, seed: int) -> Batch:
    """Gaussian examples with one-hot targets."""
    stream = Stream(seed).at("test batch")
    x = stream.at("x").normal((size, *net.in_shape))
    labels = (net.classes * stream.at("y").uniform((size,))).long()
    return Batch(x, torch.nn.functional.one_hot(labels, net.classes).double())


def rel(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||; where b is 0, a must be 0: then 0, else infinity."""
    assert a.shape == b.shape
    a, b = a.double(), b.double()
    if not b.any():
        return 0.0 if not a.any() else float("inf")
    return float((a - b).norm() / b.norm())


def worst(a: Params, b: Params) -> float:
    """The largest `rel` of any tensor; NaN counts as infinitely far."""
    assert a.keys() == b.keys()
    distances = [rel(a[name], b[name]) for name in b]
    return max((d if d == d else float("inf") for d in distances), default=0.0)


def autograd_grads(net: Network, params: Params, batch: Batch) -> Params:
    """The true gradient of the mean loss at every parameter."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    loss = net.mean_loss(leaves, batch.x, batch.y)
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))


def get_rule(name: str, **options: object) -> Rule:
    """The rule, as the registry knows it, with these options."""
    rule: Rule = registry.load("rule", name).configured(options)
    return rule


def noise_for(rule: Rule, net: Network, batch: Batch, seed: int = 0) -> Params:
    """One step's noise, drawn as the harness draws it."""
    specs = rule.noise(net, batch.x.shape[0])
    return unstack(NoiseSource(specs, [seed], batch.x.dtype, batch.x.device).at(0), 0)


def run_rule(
    name: str,
    net: Network,
    params: Params,
    batch: Batch,
    seed: int = 0,
    state: State | None = None,
    **options: object,
) -> Update:
    """One update of a registered rule; its state is drawn from the seed, unless given."""
    rule = get_rule(name, **options)
    assert rule.supports(net) is None
    if state is None:
        state = rule.init_state(net, params, Stream(seed).at("state"))
    return rule.update(net, params, state, batch, noise_for(rule, net, batch, seed))


def forward_pass(
    net: Network, params: Params, batch: Batch, state: State | None = None
) -> ForwardPass:
    """What a layered rule works from."""
    trace = net.forward(params, batch.x)
    error = net.loss.error(trace[-1].output, batch.y)
    return ForwardPass(net, params, state or State({}, {}), batch, trace, error, {})


def single_examples(batch: Batch) -> Iterable[Batch]:
    """The examples one by one: the bias gradient of such a batch is the vector d itself."""
    return (Batch(x[None], y[None]) for x, y in zip(batch.x, batch.y, strict=True))


def layer_jacobians(net: Network, params: Params, x: Tensor) -> list[Tensor]:
    """J_l = diag(D_l) W_l of each layer for a single example x (1, n_0); dense layers only."""
    trace = net.forward(params, x)
    return [step.slope[0, :, None] * params[f"{l}.weight"] for l, step in enumerate(trace, 1)]


def chain(jacobians: Sequence[Tensor]) -> Tensor:
    """J_L ... J_{l+1}, of the Jacobians in the order l+1 .. L."""
    product = jacobians[0]
    for jacobian in jacobians[1:]:
        product = jacobian @ product
    return product


def condition(matrix: Tensor) -> float:
    """Ratio of the largest to the smallest singular value."""
    return float(torch.linalg.cond(matrix))
