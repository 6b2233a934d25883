"""Where a plausibility profile is measured: small networks, and something to update from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bioplaus.learning.batching import NoiseSource, Rule, unstack
from bioplaus.learning.profile_measurements import Setting
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Init
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.toml_layers import DenseSpec, build_layers
from bioplaus.numerics.random_streams import Stream

ROUNDING = 1e-12
"""What a change may be, relative, where there is no dependence: float64 arithmetic."""
EXAMPLES = 5
"""Fewer than any layer has inputs, as the measurements need."""


def _network(widths: Sequence[int], activation: str, loss: str) -> Network:
    top = activation if loss == "mse" else "identity"
    kinds = [activation] * (len(widths) - 2) + [top]
    specs = tuple(
        DenseSpec(units=n, activation=kind) for n, kind in zip(widths[1:], kinds, strict=True)
    )
    layers = build_layers(specs, (widths[0],))
    return Network(layers, get_loss(loss), widths[-1], Init("xavier_normal"))


WIDE: Sequence[Network] = (
    _network((12, 12, 12, 12), "leaky_relu(0.1)", "mse"),
    _network((12, 14, 10, 6), "tanh", "cross_entropy"),
    _network((12, 14, 10, 6), "sigmoid", "mse"),
    _network((12, 14, 10, 6), "relu", "cross_entropy"),
)
"""Layers with more inputs than the batch has examples: a rule is measured on the first of
these that it supports."""


def setting(rule: Rule, net: Network, seed: int) -> Setting:
    """Something to update from: Gaussian weights, biases and examples, float64."""
    stream = Stream(seed).at("profile")
    params = {
        name: 0.5 * stream.at(name).normal(tensor.shape) if name.endswith("bias") else tensor
        for name, tensor in net.init(stream.at("parameters")).items()
    }
    state = rule.init_state(net, params, stream.at("state"))
    x = stream.at("x").normal((EXAMPLES, *net.in_shape))
    labels = torch.arange(EXAMPLES) % net.classes
    batch = Batch(x, torch.nn.functional.one_hot(labels, net.classes).double())
    specs = rule.noise(net, EXAMPLES)
    noise = NoiseSource(specs, [seed], torch.float64, torch.device("cpu")).at(0)
    return Setting(net, params, state, batch, unstack(noise, 0))
