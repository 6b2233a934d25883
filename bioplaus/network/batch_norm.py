"""Batch normalisation as a layer, for one's own models and for task files.

x = (h - mean) / sqrt(var + eps), a = gain * x + shift, channel by channel, where mean and var
are the batch's (and the places') in training. An example's output then depends on the others
of its batch, and so do errors on their way back:

    adjoint   e = (u - <u> - x <u x>) / sqrt(var + eps),   u = gain * d

with <> the mean over batch and places. Rules that look at one example at a time, relax
activities or invert layers have no such thing, see `LearningRule.mixes_examples`.

Ioffe and Szegedy 2015, arXiv:1502.03167; running statistics and eps as torch has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.network.network import Network, Trace
from bioplaus.network.wire import Wire
from bioplaus.numerics.random_streams import Stream

MODULES = nn.BatchNorm1d, nn.BatchNorm2d
PARAMETERS = {"weight": "gain", "bias": "shift"}
"""Torch's name -> the layer's. A gain is no weight between neurons: it has no feedback weights."""

_IDENTITY = Identity()


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalises each channel, the first axis of an example.

    With p["running_mean"] and p["running_var"] by those, each example for itself; without
    them by the batch's own. An adjoint with no p["gain"] takes 1 in its place.
    """

    below: Shape
    eps: float = 1e-5
    affine: bool = True
    activation: Activation = _IDENTITY
    momentum: float = 0.1
    """The weight of a batch in the running statistics, where no module has one."""
    kind: ClassVar[str] = "batch_norm"
    mixes_examples: ClassVar[bool] = True

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return self.below

    def init(self, stream: Stream, init: Init) -> Params:
        if not self.affine:
            return {}
        ones = torch.ones(self.below[0], dtype=torch.float64)
        return {"gain": ones, "shift": torch.zeros_like(ones)}

    @property
    def places(self) -> int:
        """Values of a channel in one example."""
        return torch.Size(self.below[1:]).numel()

    def statistics(self) -> Params:
        """The running statistics before the first batch, float64 on the CPU."""
        ones = torch.ones(self.below[0], dtype=torch.float64)
        return {"running_mean": torch.zeros_like(ones), "running_var": ones}

    def moved(self, statistics: Params, residuals: Residuals, rate: float) -> Params:
        """Running statistics after a batch, from a forward pass without them, as torch does."""
        x, _, (mean, var) = residuals
        n = x.shape[0] * self.places
        return {
            "running_mean": statistics["running_mean"].lerp(mean, rate),
            "running_var": statistics["running_var"].lerp(var * n / (n - 1), rate),
        }

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        if "running_mean" in p:
            mean, var = p["running_mean"], p["running_var"]
            statistics = None
        else:
            var, mean = torch.var_mean(h, self._shared, correction=0)
            statistics = mean, var
        scale = self._spread((var + self.eps).rsqrt())
        x = (h - self._spread(mean)) * scale
        a = x * self._spread(p["gain"]) + self._spread(p["shift"]) if self.affine else x
        return a, (x, scale, statistics)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        x, scale, statistics = residuals
        u = d * self._spread(p["gain"]) if "gain" in p else d
        if statistics is not None:
            u = u - self._mean(u) - x * self._mean(u * x)
        below: Tensor = u * scale
        return below

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        if not self.affine:
            return {}
        (x, *_), n = residuals, d.shape[0]
        return {"gain": (d * x).sum(self._shared) / n, "shift": d.sum(self._shared) / n}

    @property
    def _shared(self) -> list[int]:
        """The axes of a batch that share a channel's statistics."""
        return [0, *range(2, len(self.below) + 1)]

    def _mean(self, u: Tensor) -> Tensor:
        return u.mean(self._shared, keepdim=True)

    def _spread(self, channels: Tensor) -> Tensor:
        return channels.reshape(1, -1, *[1] * (len(self.below) - 1))


def batch_norms(net: Network) -> list[tuple[int, BatchNorm]]:
    """The batch normalisations of a network, with the numbers of their layers, from 0."""
    inner = ((l, _innermost(layer)) for l, layer in enumerate(net.layers))
    return [(l, layer) for l, layer in inner if isinstance(layer, BatchNorm)]


class Norms:
    """The batch normalisations of a model, with the layers that they are in a network."""

    def __init__(self, modules: Iterable[nn.Module], net: Network) -> None:
        """modules: of the model, in the order of the layers that they are."""
        norms = [module for module in modules if isinstance(module, MODULES)]
        layers = batch_norms(net)
        self._pairs = list(zip((l for l, _ in layers), norms, strict=True))
        self._layers = [layer for _, layer in layers]

    def running(self, training: bool) -> Params:
        """The running statistics, as parameters of the layers that go by them.

        In training those whose modules are in `eval` mode, as in torch; else all.
        """
        found: Params = {}
        for l, module in self._pairs:
            if not (training and module.training):
                assert module.running_mean is not None and module.running_var is not None
                found[f"{l + 1}.running_mean"] = module.running_mean
                found[f"{l + 1}.running_var"] = module.running_var
        return found

    def check(self, count: int, training: bool) -> None:
        """ModelError for a batch that has no variance."""
        for (_, module), layer in zip(self._pairs, self._layers, strict=True):
            if training and module.training and count * layer.places < 2:
                raise ModelError(
                    "BatchNorm needs at least two examples in a training batch: leave out a last "
                    "batch of one (DataLoader's drop_last=True)"
                )

    @property
    def track(self) -> bool:
        """Whether a training step changes running statistics."""
        return any(module.training for _, module in self._pairs)

    def update(self, trace: Trace) -> None:
        """Move the running statistics towards those of the batch in a trace, as torch does."""
        for (l, module), layer in zip(self._pairs, self._layers, strict=True):
            *_, statistics = trace[l].residuals
            if statistics is None:
                continue
            assert module.running_mean is not None and module.running_var is not None
            assert module.num_batches_tracked is not None
            module.num_batches_tracked += 1
            rate = module.momentum
            if rate is None:
                rate = 1 / float(module.num_batches_tracked)
            before = {"running_mean": module.running_mean, "running_var": module.running_var}
            for name, after in layer.moved(before, trace[l].residuals, rate).items():
                before[name].copy_(after)


def _innermost(layer: Layer) -> Layer:
    return _innermost(layer.inner) if isinstance(layer, Wire) else layer
