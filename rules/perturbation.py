"""What node and weight perturbation share: the loss with noise against the loss without."""

from __future__ import annotations

from torch import Tensor

from bioplaus.network.network import Network


def weighted_layers(net: Network) -> list[int]:
    """The layers with weights, from 0."""
    return [l for l, layer in enumerate(net.layers) if layer.multiply_adds() > 0]


def rise(net: Network, noisy: Tensor, clean: Tensor, y: Tensor) -> Tensor:
    """By how much each example's loss is larger with noise than without, (N)."""
    return net.loss.each(noisy, y) - net.loss.each(clean, y)
