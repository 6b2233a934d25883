"""How a rule's update compares with the true gradient, layer by layer, on one's own model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bioplaus.errors import BioplausError, ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.profile_measurements import Setting
from bioplaus.learning.rule import Batch, State
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.own_model.backward import When, first_state, noise_at, targets, update_at
from bioplaus.own_model.learner import Learner
from bioplaus.own_model.read_modules import read_modules
from bioplaus.plugins import defaults, registry

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

COLUMNS = ("layer", "reference", "cosine", "angle", "norm_ratio", "sign_agreement")


def alignment(
    model: nn.Sequential,
    x: Tensor,
    y: Tensor,
    rule: str | Learner = defaults.RULE,
    *,
    loss: str = "mse",
    seed: int = 0,
    **options: Any,
) -> pandas.DataFrame:
    """A rule's update beside the gradient of the loss, one row for each layer with weights.

    model, x, y, loss: as for `bioplaus.backward`. rule: a rule's name, which starts from its
    first state of `seed`, or a Learner, with the state that it has by now (then `loss`, `seed`
    and options are the learner's). Nothing is changed, and the model is taken as in `eval` mode.

    Columns: `layer`, counted from 1 among the network's layers, pools and all; `reference`,
    "loss", and for rules that descend an objective of their own "objective" too; `cosine` and
    `angle` in degrees between update and gradient; `norm_ratio`, |update| / |gradient|;
    `sign_agreement`, the share of a layer's parameters whose update and gradient, where that
    is not 0, have the same sign. The rule's own regulariser is left out.

    Raises ModelError, UnsupportedError, UnknownNameError or ConfigError, as `backward`.
    """
    import pandas

    layers, names = read_modules(model, tuple(x.shape[1:]))
    params = {name: parameter.detach() for name, parameter in names.items()}
    function = rule.net.loss if isinstance(rule, Learner) else get_loss(loss)
    y = targets(y, x.shape[0], math.prod(layers[-1].out_shape), x.dtype)
    net = Network(layers, function, classes=y.shape[-1])
    batch = Batch(x.reshape(-1, *net.in_shape), y)
    if isinstance(rule, Learner):
        if rule.net != net or rule.model is not model:
            raise ModelError("the learner is of another model")
        made, when = rule.rule, When(rule.seed, rule.steps, training=False)
        state = State(rule.aux, rule.memory)
    else:
        made, when = registry.load("rule", rule).configured(options), When(seed, 0, training=False)
        first = first_state(made, net, params, seed)
        state = State(first.aux, first.memory)
    norms = Norms(model, net)
    with torch.no_grad():
        update = update_at(made, net, params, state, batch, when, norms).grads
    fixed = norms.running(training=False)
    noise = noise_at(made, net, batch.x, when)
    rows = [
        row
        for reference, gradient in _gradients(
            made, Setting(net, params, state, batch, noise), fixed
        ).items()
        for row in _rows(net, update, gradient, reference)
    ]
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _gradients(rule: Rule, at: Setting, fixed: Params) -> dict[str, Params]:
    """The true gradients with respect to a setting's parameters, by autograd."""
    net, batch = at.net, at.batch
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in at.params.items()}

    def gradient(value: Tensor) -> Params:
        found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    with torch.enable_grad():
        found = {"loss": gradient(net.mean_loss(leaves | fixed, batch.x, batch.y))}
        objective = rule.objective_at(net, leaves | fixed, at.state, batch, at.noise)
        return found if objective is None else found | {"objective": gradient(objective)}


def _rows(
    net: Network, update: Params, gradient: Params, reference: str
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for l in range(net.depth):
        part = net.at(gradient, l)
        if not part:
            continue
        ours = torch.cat([net.at(update, l)[name].flatten().double() for name in part])
        theirs = torch.cat([tensor.flatten().double() for tensor in part.values()])
        cosine = float(ours @ theirs / (ours.norm() * theirs.norm()))
        counted = theirs != 0
        rows.append(
            {
                "layer": l + 1,
                "reference": reference,
                "cosine": cosine,
                "angle": math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
                if math.isfinite(cosine)
                else math.nan,
                "norm_ratio": float(ours.norm() / theirs.norm()),
                "sign_agreement": float((ours.sign() == theirs.sign())[counted].double().mean()),
            }
        )
    return rows


def plot_alignment(frame: pandas.DataFrame, ax: Axes | None = None) -> Axes:
    """Angles and sign agreement of `alignment`'s frame, as bars for each layer; the axes drawn on.

    BioplausError where matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise BioplausError("plots need matplotlib: pip install 'bioplaus[plot]'") from None
    axes: Axes = ax if ax is not None else pyplot.subplots(layout="constrained")[1]
    references = list(dict.fromkeys(frame["reference"]))
    width = 0.8 / len(references)
    for i, reference in enumerate(references):
        part = frame[frame["reference"] == reference]
        places = [layer + (i - (len(references) - 1) / 2) * width for layer in part["layer"]]
        bars = axes.bar(places, part["angle"], width, label=f"gradient of the {reference}")
        shares = [f"{share:.0%}" for share in part["sign_agreement"]]
        axes.bar_label(bars, shares, padding=2)
    axes.axhline(90, linestyle="--", linewidth=1, color="gray")
    axes.set(
        xlabel="layer",
        ylabel="angle of update and gradient (degrees)",
        xticks=sorted(set(frame["layer"])),
        ylim=(0, max(100.0, 1.1 * float(frame["angle"].max()))),
        title="on the bars: share of equal signs",
    )
    axes.legend()
    return axes
