"""A small network on two views, and a batch of them."""

from __future__ import annotations

import torch

from bioplaus.learning.rule import Batch
from bioplaus.network.activations import Identity, parse_activation
from bioplaus.network.contrastive import ContrastiveHinge
from bioplaus.network.layer import Dense, Init
from bioplaus.network.network import Network
from tests.helpers.networks import draw

PAIRS = 7


def views_net(block: bool = True, activation: str = "tanh") -> Network:
    f = parse_activation(activation)
    layers = (Dense(12, 16, f), Dense(16, 14, f), Dense(14, 8, Identity(), bias=False))
    return Network(layers, ContrastiveHinge(block=block), 8, Init("xavier_normal", 1.5))


def pairs(seed: int) -> Batch:
    return Batch(draw(seed, "views", 2 * PAIRS, 12), torch.zeros(2 * PAIRS, 8, dtype=torch.float64))
