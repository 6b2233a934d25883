"""Predictions of many seeds at once, with the noise that a rule or a layer wants of them.

The noise of an example depends on the seed, on what wants it, and on the example's position in
its split: so an evaluation gives the same numbers whichever seeds run beside, however it is cut
into batches, and however often it is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.errors import PluginError
from bioplaus.learning.batching import NoiseSource, Rule, apart_from_layers, unstack
from bioplaus.learning.rule import NoiseSpec, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network

TEST = "test"


class PredictionNoise:
    """Each seed's noise of predictions, of examples by their positions."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        seeds: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        layers = net.predicted_uniform_shapes()
        specs = {n: NoiseSpec(shape, "uniform") for n, shape in layers.items()}
        specs |= rule.prediction_noise(net)
        self.numbers = sum(torch.Size(spec.shape).numel() for spec in specs.values())
        """Drawn for one example."""
        self._source = NoiseSource(specs, seeds, dtype, device, "prediction noise")

    def each(self, positions: Tensor) -> Params:
        """name -> (R, N, *shape), for positions (N,) of `positions`."""
        return self._source.each(positions)


def positions(count: int, device: torch.device, split: str = TEST) -> Tensor:
    """Of a split's examples, int64 (N,): no two splits have one in common."""
    start = (zlib.crc32(split.encode()) & 0x7FFFFFFF) << 32
    return start + torch.arange(count, device=device)


def predicted(
    rule: Rule, net: Network, params: Params, state: State, x: Tensor, noise: Params
) -> Tensor:
    """One network's outputs for x, (N, n_L); noise: the rule's and the layers', (N, ...) each."""
    layers, own = apart_from_layers(noise, net.predicted_uniform_shapes())
    return rule.predict_with(net, params | layers, state, x, own)


def predicted_alone(
    rule: Rule, net: Network, params: Params, state: State, x: Tensor, seed: int
) -> Tensor:
    """`predicted` with that seed's noise, of examples that stand in the order of a test split."""
    drawn = PredictionNoise(rule, net, [seed], x.dtype, x.device)
    noise = unstack(drawn.each(positions(len(x), x.device)), 0)
    return predicted(rule, net, params, state, x, noise)


def try_prediction(
    rule: Rule, net: Network, params: Params, state: State, x: Tensor, seeds: Sequence[int]
) -> None:
    """Whether `predict` works, before a training and not after an epoch: it raises PluginError."""
    drawn = PredictionNoise(rule, net, seeds, x.dtype, x.device)
    with torch.no_grad():
        batched_predict(rule, net)(params, state, x, drawn.each(positions(len(x), x.device)))


def batched_predict(rule: Rule, net: Network, shared: bool = True) -> Callable[..., Tensor]:
    """`predicted` over stacked parameters, state and noise, on examples that all share, or each
    its own, (R, N, *in_shape).

    A function of parameters, state and examples, then of noise, where there is any.
    """

    def one(params: Params, state: State, x: Tensor, noise: Params) -> Tensor:
        output = predicted(rule, net, params, state, x, noise)
        due = (x.shape[0], *net.layers[-1].out_shape)
        if not isinstance(output, Tensor) or output.shape != due:
            shape = isinstance(output, Tensor) and f"the shape {tuple(output.shape)}"
            raise PluginError(
                f"the rule {rule.name!r}: `predict` gives {shape or type(output).__name__}, due is "
                f"{due}: one row of outputs for each example"
            )
        return output

    together = vmap(one, in_dims=(0, 0, None if shared else 0, 0), randomness="error")

    def outputs(params: Params, state: State, x: Tensor, noise: Params | None = None) -> Tensor:
        found: Tensor = together(params, state, x, noise or {})
        return found

    return outputs
