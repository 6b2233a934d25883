"""Networks with weights left out from the start: which ones is the seed's, not the rule's.

At random, or by the seed's lottery ticket: the largest weights of each layer of its dense network,
trained first on all examples (`training/tickets.py`).

The harness holds a pruned weight at zero: it sets it so before training, and its gradient to
zero at every step, so that no rule need know. The last layer's weights and all biases stay.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.system.toml_files import TABLE


class Pruning(BaseModel):
    """What share of the weights is left out, and of feedback weights too or not."""

    model_config = TABLE

    sparsity: float = Field(ge=0, lt=1, description="share of each layer's weights left out")
    kind: Literal["random", "ticket"] = Field(
        "random",
        description="which: the seed's, at random; or all but the largest of the seed's dense "
        "network after 2,000 steps of backprop on all training examples",
    )
    feedback: Literal["dense", "same"] = Field(
        "dense", description="feedback weights: all there, or left out where the weights are"
    )

    def masks(self, net: Network, params: Params, seed: int, dense: Params | None = None) -> Params:
        """Of each pruned tensor which entries stay, bool, on the CPU.

        dense: the trained network that a ticket is read from. As many as the share, rounded, are
        left out of each layer; those of a smaller share are among those of a larger one.
        """
        weighted = [
            l for l, layer in enumerate(net.layers, 1)
            if layer.multiply_adds() > 0 and net.leader(l - 1) == l - 1
        ]  # fmt: skip
        found = {}
        for l in weighted[:-1]:
            stream = Stream(seed).at("pruning", l)
            for name, own in ((f"{l}.weight", stream), (f"{l}.recurrent", stream.at("recurrent"))):
                if name in params:
                    found[name] = self._mask(params[name], own, dense[name] if dense else None)
        return found

    def _mask(self, tensor: Tensor, stream: Stream, dense: Tensor | None) -> Tensor:
        count = tensor.numel()
        if self.kind == "ticket":
            assert dense is not None, "a ticket is read from a trained network"
            order = torch.argsort(dense.flatten().abs(), stable=True)
        else:
            order = stream.permutation(count)
        stays = torch.ones(count, dtype=torch.bool)
        stays[order[: round(self.sparsity * count)]] = False
        return stays.reshape(tensor.shape)

    def state_masks(self, masks: Params, state: State) -> tuple[Params, Params]:
        """Of a rule's aux and memory what mirrors pruned weights, and is pruned with them."""
        if self.feedback == "dense":
            return {}, {}
        aux, memory = (
            {n: m for n, m in masks.items() if n in part and part[n].shape == m.shape}
            for part in state
        )
        return aux, memory


def pruned(tensors: Params, masks: Params) -> Params:
    """The tensors with zeros where their mask says so; those without a mask as they are."""
    return {n: kept(t, masks[n]) if n in masks else t for n, t in tensors.items()}


def kept(tensor: Tensor, mask: Tensor) -> Tensor:
    """Zero, not minus zero or NaN, where the mask is False."""
    return torch.where(mask.to(tensor.device), tensor, torch.zeros_like(tensor))
