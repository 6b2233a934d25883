"""Forward-forward: layers are excited by an image with its label, and calm with a wrong one.

The label is written into the input: its first C units become a one-hot vector. Every hidden layer
l with weights reads the normalised activity below it, n(h) = h / sqrt(mean_i h_i^2), and has the
goodness g_l = sum_i h_{l,i}^2. With h_l^+ from the right label, h_l^- from a wrong one,

    J_l = 1/2 <softplus(theta n_l - g_l^+) + softplus(g_l^- - theta n_l)>
    d_l^+ = -sigmoid(theta n_l - g_l^+) D_l^+ * h_l^+
    d_l^- =  sigmoid(g_l^- - theta n_l) D_l^- * h_l^-
    gW_l = <d_l^+ n(h_{l-1}^+)^T> + <d_l^- n(h_{l-1}^-)^T>

is J_l's gradient, the activity below held. The last layer is a readout of n(h) under a neutral
label, 1 / C at every unit, and learns by the task's loss, which reaches no other layer.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, RuleConfig, State, Update
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network, Trace

from .perturbation import weighted_layers


class ForwardForwardConfig(RuleConfig):
    threshold: float = Field(
        1.0, gt=0, description="theta, the goodness per unit at which a layer is undecided"
    )
    predict_by: Literal["goodness", "readout"] = Field(
        "goodness",
        description="what classifies: the label with which hidden layers are most excited, the "
        "first left out where there are others; or the readout, in one pass",
    )


class ForwardForward(LearningRule[ForwardForwardConfig]):
    """Forward-forward: every layer by itself tells right labels from wrong ones, by its goodness.

    There is no backward pass and no error between layers; the two passes may come apart in
    time. Wrong labels are drawn by the harness, evenly from the others. Trying all labels costs
    C passes for a prediction. The metric "loss" is the readout's, "contrast" the mean of J_l.

    The label takes the place of what the first C units held: on images with something there,
    the network sees less. What the layers above read is not the network's forward pass: weights
    trained by this rule mean something in its own passes only.

    Hinton draws wrong labels in proportion to how likely the readout finds them, and lets it read
    all layers but the first; here it reads the last hidden one, as the task's network has it.

    Compared with a public reimplementation (loeweX/Forward-Forward, ff_model.py): hidden gradients
    of 12-10-7 relu agree to 2e-15 once its stabiliser 1e-8 of norms is taken away.
    """

    name = "forward-forward"
    Config = ForwardForwardConfig
    needs = "classes"
    citation = Citation(
        authors="Hinton",
        title="The forward-forward algorithm: some preliminary investigations",
        year=2022,
        venue="arXiv",
        identifier="arXiv:2212.13345",
        equations="sections 2 and 3.3",
    )
    stackable = frozenset({"threshold"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "threshold": Around(0.7)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="two forward passes, with a right and a wrong label",
            update_locking=False,
            backward_locking=False,
            local=False,
            needs_derivative="local",
            signed_errors="none",
            auxiliary="the label as an input, a wrong one drawn for every example",
            note="a synapse needs its layer's total activity; activity is divided by its norm",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=1e-3)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        weighted = weighted_layers(net)
        if len(weighted) < 2 or weighted[-1] != net.depth - 1:
            return "it needs hidden layers with weights, and a last one that reads them"
        if torch.Size(net.in_shape).numel() <= net.classes:
            return f"its input has no room for a label of {net.classes} units"
        if any(layer.branches for layer in net.layers):
            return (
                "residual blocks and graphs carry activity past the layers that normalise it, or "
                "combine it behind them"
            )
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {"wrong": NoiseSpec((batch_size,), "uniform")}

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        right = ascend(net, params, labelled(batch.x, batch.y))
        wrong = ascend(net, params, labelled(batch.x, wrong_labels(batch.y, noise["wrong"])))
        sides = [Side(right, -1.0), Side(wrong, 1.0)]
        grads: Params = {}
        contrast = batch.x.new_zeros(())
        for l in weighted_layers(net)[:-1]:
            own = [self._side(net, side, l) for side in sides]
            grads |= net.join([{k: own[0][1][k] + own[1][1][k] for k in own[0][1]}], first=l)
            contrast = contrast + own[0][0] + own[1][0]
        top, error = self._readout(net, params, batch)
        grads |= net.join(
            [net.layers[-1].weight_grad(top.residuals, top.slope * error)], first=net.depth - 1
        )
        return Update(
            grads=grads,
            penalty={},
            aux_grads={},
            memory=state.memory,
            metrics={
                "loss": net.loss.value(top.output, batch.y),
                "contrast": contrast / (len(weighted_layers(net)) - 1),
            },
        )

    def _side(self, net: Network, side: Side, l: int) -> tuple[Tensor, Params]:
        """Half of layer l's J, of the right labels or the wrong ones, and its gradient."""
        step = side.trace[l]
        excess = side.sign * (goodness(step.output) - self.config.threshold * units(step.output))
        scale = side.sign * torch.sigmoid(excess)
        delta = per_example(scale, step.output) * step.slope * step.output
        return 0.5 * F.softplus(excess).mean(), net.layers[l].weight_grad(step.residuals, delta)

    def _readout(self, net: Network, params: Params, batch: Batch) -> tuple[LayerTrace, Tensor]:
        top = ascend(net, params, neutral(net, batch.x))[-1]
        return top, net.loss.error(top.output, batch.y)

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        """The goodness of every label, (N, n_L), 0 for output units beyond C; or the readout."""
        if self.config.predict_by == "readout":
            return ascend(net, params, neutral(net, x))[-1].output
        hidden = weighted_layers(net)[:-1]
        counted = hidden[1:] or hidden
        labels = torch.eye(net.classes, dtype=x.dtype, device=x.device)
        found = []
        for label in labels:
            trace = ascend(net, params, labelled(x, label.expand(len(x), -1)))
            found.append(sum((goodness(trace[l].output) for l in counted), x.new_zeros(len(x))))
        outputs = net.layers[-1].out_shape[0]
        return F.pad(torch.stack(found, dim=1), (0, outputs - net.classes))

    def objective_at(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Tensor | None:
        """The sum of all J_l and the readout's loss, no gradient between layers."""
        total = batch.x.new_zeros(())
        for sign, y in ((-1.0, batch.y), (1.0, wrong_labels(batch.y, noise["wrong"]))):
            trace = ascend(net, params, labelled(batch.x, y), apart=True)
            for l in weighted_layers(net)[:-1]:
                h = trace[l].output
                excess = sign * (goodness(h) - self.config.threshold * units(h))
                total = total + 0.5 * F.softplus(excess).mean()
        top = ascend(net, params, neutral(net, batch.x), apart=True)[-1]
        return total + net.loss.value(top.output, batch.y)


class Side(NamedTuple):
    """A pass with right labels, sign -1, or with wrong ones, sign 1."""

    trace: Trace
    sign: float


def ascend(net: Network, params: Params, x: Tensor, apart: bool = False) -> Trace:
    """The pass in which every layer with weights reads normalised activity.

    apart: without gradients from a layer to those below.
    """
    trace: list[LayerTrace] = []
    h = x
    for l, layer in enumerate(net.layers):
        below = h.detach() if apart else h
        trace.append(net.step(params, l, normalised(below) if layer.multiply_adds() else below))
        h = trace[-1].output
    return tuple(trace)


def normalised(h: Tensor) -> Tensor:
    """h / sqrt(mean_i h_i^2) for each example; 0 where all units are silent."""
    size = h.flatten(1).square().mean(1).sqrt()
    return h * per_example(torch.where(size > 0, 1 / torch.where(size > 0, size, 1), 0), h)


def goodness(h: Tensor) -> Tensor:
    """sum_i h_i^2 of each example, (N)."""
    return h.flatten(1).square().sum(1)


def units(h: Tensor) -> int:
    """n_l."""
    return h[0].numel()


def per_example(scale: Tensor, like: Tensor) -> Tensor:
    """A number for each example, in a shape that multiplies h."""
    return scale.reshape(-1, *[1] * (like.dim() - 1))


def labelled(x: Tensor, y: Tensor) -> Tensor:
    """The input with its first C units, in the order of `flatten`, in the place of y (N, C)."""
    flat = x.flatten(1)
    return torch.cat([y, flat[:, y.shape[1] :]], dim=1).reshape(x.shape)


def neutral(net: Network, x: Tensor) -> Tensor:
    """The input with a label that is 1 / C for every class."""
    return labelled(x, x.new_full((len(x), net.classes), 1 / net.classes))


def wrong_labels(y: Tensor, u: Tensor) -> Tensor:
    """One-hot labels other than y's, evenly from u uniform on (0, 1), (N)."""
    count = y.shape[1]
    steps = 1 + torch.clamp((u * (count - 1)).floor(), max=count - 2)
    other = (y.argmax(1) + steps) % count
    return (other[:, None] == torch.arange(count, device=y.device)).to(y.dtype)
