"""Local losses: every hidden layer predicts the label, and matches similarities, by itself.

Layer l gets two losses of its own activity h_l (N x n_l, flattened), which reach no other layer:

    pred   cross-entropy of softmax(A_l h_l + a_l) and the label
    sim    mean over pairs (i, j) of (S_ij(H W_s^T) - S_ij(Y))^2
    J_l  = (1 - beta) pred + beta sim,     d_l = D_l * dJ_l/dh_l per example

S(Z) is the matrix of correlations: rows of Z centred over units, divided by their norm, and
multiplied. A_l, a_l and W_s learn by the gradients of J_l. The last layer learns by the task's
loss alone.

In the bio variant the readout predicts the signs of a fixed random projection P y of the
label, each by a sigmoid; its error comes down through fixed random weights in the place of
A_l^T; and similarities are of h_l itself with those of P y.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, RuleConfig, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class LocalLossesConfig(RuleConfig):
    local_loss: Literal["predsim", "pred", "sim"] = Field(
        "predsim", description="predict the label, match similarities, or both"
    )
    beta: float = Field(
        0.99, gt=0, lt=1, description="share of the similarity loss in predsim, the authors'"
    )
    bio: bool = Field(
        False,
        description="predict random binary targets, errors through fixed random weights, no W_s",
    )
    target_size: int = Field(
        128, ge=1, description="bio only: how many binary targets; the authors' default"
    )


class LocalLosses(LayeredRule[LocalLossesConfig]):
    """Local losses: a readout and a similarity-matching loss per layer, no error between layers.

    A layer may learn as soon as its activity is there. The similarity loss compares the
    examples of a batch: its size matters, and a synapse would have to know other examples'
    activity. W_s has n_l^2 weights; layers of images have none, theirs is the identity, and
    similarities are of all their units (the authors: a 3 x 3 convolution, and the standard
    deviations of its channels).

    Compared with the authors' code (anokland/local-loss, train.py) on 9-12-7 relu, all losses,
    bio or not: the gradients of a layer, its readout and W_s agree to 7e-14 once its stabiliser
    1e-8 of norms is taken away; with it they differ by 1e-7, and where a layer is silent it is
    not finite. Its readouts start at 0, so that a first step by prediction alone would move
    no layer; here they start as torch's. Batch normalisation and dropout are the task's business.
    """

    name = "local-losses"
    Config = LocalLossesConfig
    needs = "classes"
    citation = Citation(
        authors="Nøkland and Eidnes",
        title="Training neural networks with local error signals",
        year=2019,
        venue="ICML 36",
        identifier="arXiv:1901.06656",
        equations="section 2; its code, train.py",
    )
    stackable = frozenset({"beta"})

    @property
    def plausibility(self) -> Plausibility:
        bio = self.config.bio
        crosses = "fixed random weights" if bio else "its readout's own transpose"
        sim = self.config.local_loss != "pred"
        return Plausibility(
            weight_transport="none",
            phases="none: every layer has losses of its own",
            update_locking=False,
            backward_locking=False,
            local=False,
            needs_derivative="local",
            signed_errors="yes",
            auxiliary="a readout for every layer, and the label there"
            + (", the batch's similarity matrices" if sim else ""),
            note="" if self.config.local_loss == "sim" else f"a layer's error crosses {crosses}",
        )

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same"

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if not _hidden(net):
            return "it has no hidden layer, which is what local losses train"
        if net.layers[-1].multiply_adds() == 0:
            return "its last layer has no weights to learn by the loss"
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        aux: Params = {}
        memory: Params = {}
        for l in _hidden(net):
            units, own = math.prod(net.layers[l].out_shape), stream.at("local", l + 1)
            outputs = self.config.target_size if self.config.bio else net.classes
            if self.config.local_loss != "sim":
                aux[f"{l + 1}.readout"] = _uniform(own.at("readout"), outputs, units)
                aux[f"{l + 1}.offset"] = torch.zeros(outputs, dtype=torch.float64)
                if self.config.bio:
                    memory[f"{l + 1}.feedback"] = _uniform(own.at("feedback"), outputs, units)
            if self.config.local_loss != "pred" and not self.config.bio and _is_vector(net, l):
                aux[f"{l + 1}.similarity"] = _uniform(own.at("similarity"), units, units)
            if self.config.bio:
                drawn = _uniform(own.at("targets"), outputs, net.classes)
                memory[f"{l + 1}.targets"] = drawn
        return State(aux, memory)

    def shared(self, fwd: ForwardPass) -> tuple[dict[int, Tensor], Params]:
        """The gradients of every J_l at h_l, per example, and at its auxiliary parameters."""
        errors: dict[int, Tensor] = {}
        aux: Params = {}
        for l in _hidden(fwd.net):
            h = fwd.trace[l].output.flatten(1)
            y = fwd.batch.y
            if self.config.bio:
                y = y @ fwd.state.memory[f"{l + 1}.targets"].T
            error = torch.zeros_like(h)
            if self.config.local_loss != "sim":
                error, own = self._prediction(fwd, l, h, y)
                aux |= own
            if self.config.local_loss != "pred":
                part, own = self._similarity(fwd, l, h, y)
                error, aux = error + part, aux | own
            errors[l] = error.reshape(fwd.trace[l].output.shape)
        return errors, aux

    def _prediction(self, fwd: ForwardPass, l: int, h: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        """Of (1 - beta) pred: e (N x n_l) per example, and the readout's gradients."""
        weight = 1.0 if self.config.local_loss == "pred" else 1 - self.config.beta
        readout = fwd.state.aux[f"{l + 1}.readout"]
        logits = F.linear(h, readout, fwd.state.aux[f"{l + 1}.offset"])
        if self.config.bio:
            # binary cross-entropy, mean over the targets
            d = weight * (torch.sigmoid(logits) - (y > 0).to(y.dtype)) / y.shape[1]
            readout = fwd.state.memory[f"{l + 1}.feedback"]
        else:
            d = weight * (F.softmax(logits, 1) * y.sum(1, keepdim=True) - y)
        own = {f"{l + 1}.readout": d.T @ h / len(h), f"{l + 1}.offset": d.mean(0)}
        return d @ readout, own

    def _similarity(self, fwd: ForwardPass, l: int, h: Tensor, y: Tensor) -> tuple[Tensor, Params]:
        """Of beta sim: N times its gradient at h, so that the batch mean of it is the rule's."""
        weight = 1.0 if self.config.local_loss == "sim" else self.config.beta
        mixing = fwd.state.aux.get(f"{l + 1}.similarity")
        z = h if mixing is None else h @ mixing.T
        n = len(h)
        unit, length = normalised(z)
        wanted, _ = normalised(y)
        gap = unit @ unit.T - wanted @ wanted.T
        error = normalised_adjoint(unit, length, 4 * weight / n**2 * gap @ unit)
        if mixing is None:
            return n * error, {}
        return n * error @ mixing, {f"{l + 1}.similarity": error.T @ h}

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        errors, _ = fwd.shared
        hidden = (
            step.slope * errors[l] if l in errors else torch.zeros_like(step.slope)
            for l, step in enumerate(fwd.trace[:-1])
        )
        return [*hidden, fwd.trace[-1].slope * fwd.error]

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        _, aux = fwd.shared
        return {name: aux[name] for name in fwd.state.aux}


def normalised(z: Tensor) -> tuple[Tensor, Tensor]:
    """Rows centred over units and divided by their norm, (N, n), and the norms, (N, 1).

    A row without variance is all zero.
    """
    centred = z - z.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    # rounding leaves a constant row a norm that is not quite 0
    silent = length <= 1e-6 * z.norm(dim=1, keepdim=True)
    return torch.where(silent, 0, centred / torch.where(silent, 1, length)), length


def normalised_adjoint(unit: Tensor, length: Tensor, d: Tensor) -> Tensor:
    """The gradient at z of a function whose gradient at the normalised rows is d."""
    across = d - unit * (unit * d).sum(1, keepdim=True)
    below = torch.where(unit.any(1, keepdim=True), across / torch.where(length > 0, length, 1), 0)
    return below - below.mean(1, keepdim=True)


def _hidden(net: Network) -> list[int]:
    """The layers with weights below the last such layer, from 0."""
    return [l for l, layer in enumerate(net.layers) if layer.multiply_adds() > 0][:-1]


def _is_vector(net: Network, l: int) -> bool:
    return len(net.layers[l].out_shape) == 1


def _uniform(stream: Stream, rows: int, columns: int) -> Tensor:
    """Torch's weights of a linear layer: uniform between plus and minus 1 / sqrt(fan_in)."""
    return (2 * stream.uniform((rows, columns)) - 1) / math.sqrt(columns)
