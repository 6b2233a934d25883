"""What a suite may sweep: a task of another depth, width, activation, size of data, or label noise.

Each is a field of the task file that is left out by default; the same for every rule and seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.toml_layers import DenseSpec, LayerSpec, TowerSpec
from bioplaus.network.toml_time import ReadoutSpec
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split


def vary_layers(
    layers: tuple[LayerSpec, ...],
    depth: int | None = None,
    width: int | None = None,
    activation: str | None = None,
) -> tuple[LayerSpec, ...]:
    """Layers with another number, width or activation of the hidden dense ones; ConfigError.

    depth: of all layers with weights; hidden dense layers are left out from the top, or the
    last of them is repeated. Convolutions and the last layer stay as they are.
    """
    if depth is None and width is None and activation is None:
        return layers
    if isinstance(layers[-1], ReadoutSpec):
        return (*vary_layers(layers[:-1], depth, width, activation), layers[-1])
    *below, last = layers
    hidden = [spec for spec in below if isinstance(spec, DenseSpec | TowerSpec)]
    if not hidden or below[len(below) - len(hidden) :] != hidden:
        raise ConfigError(
            "depth, width and activation vary the hidden dense layers, which must stand together "
            "below the last layer"
        )
    fixed = below[: len(below) - len(hidden)]
    if depth is not None:
        others = sum(hasattr(spec, "activation") for spec in fixed) + 1
        if depth < others + 1:
            raise ConfigError(f"depth {depth} leaves no hidden dense layer; at least {others + 1}")
        count = depth - others
        hidden = [*hidden[:count], *hidden[-1:] * (count - len(hidden))]
    changes = {
        name: value
        for name, value in {"units": width, "activation": activation}.items()
        if value is not None
    }
    changed = [type(spec).model_validate({**spec.model_dump(), **changes}) for spec in hidden]
    return (*fixed, *changed, last)


def with_noisy_labels(split: Split, share: float, classes: int, name: str) -> Split:
    """That share of the labels, rounded down, replaced by another class at random each.

    Which, and by what, depends on the data set's name alone; a larger share replaces those of a
    smaller one too, by the same classes.
    """
    stream = Stream(0).at("label noise", name)
    wrong = stream.at("which").permutation(len(split))[: int(share * len(split))]
    shift = 1 + (stream.at("shift").uniform((len(split),)) * (classes - 1)).long()
    y: Tensor = split.y.clone()
    y[wrong] = (y[wrong] + shift[wrong].clamp(max=classes - 1)) % classes
    return Split(split.x, y)


def first_examples(split: Split, count: int, name: str) -> Split:
    """So many of the examples; those of a smaller number are among those of a larger one."""
    order = Stream(0).at("training examples", name).permutation(len(split))
    return split[torch.sort(order[:count]).values]
