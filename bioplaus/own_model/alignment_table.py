"""How a rule's update compares with the true gradient, layer by layer, on one's own model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bioplaus.errors import BioplausError, ModelError
from bioplaus.learning.alignment import by_layer, cosine_and_ratio, sign_agreement
from bioplaus.learning.batching import batched_loss_grad, batched_objective_grad, stack, unstack
from bioplaus.learning.rule import Batch
from bioplaus.network.batch_norm import Norms
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.own_model.backward import targets
from bioplaus.own_model.learner import Learner
from bioplaus.own_model.read_modules import read_modules
from bioplaus.own_model.rule_state import RuleState
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
        state = rule.state
    else:
        made = registry.load("rule", rule).configured(options)
        state = RuleState(made, net, params, seed)
    norms = Norms(model, net)
    with torch.no_grad():
        update = state.look(params, batch, norms, training=False).grads
    at_rest = stack([params | norms.running(training=False)])
    references = {"loss": batched_loss_grad(net)(at_rest, batch)}
    if state.rule.objective(net, unstack(at_rest, 0), batch) is not None:
        references["objective"] = batched_objective_grad(state.rule, net)(at_rest, batch)
    rows = [
        _row(l, ours, theirs, name)
        for name, gradient in references.items()
        for l, ours, theirs in by_layer(net, stack([update]), gradient)
    ]
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _row(l: int, ours: Tensor, theirs: Tensor, reference: str) -> dict[str, object]:
    cosine, ratio = (float(value) for value in cosine_and_ratio(ours, theirs))
    known = math.isfinite(cosine)
    return {
        "layer": l + 1,
        "reference": reference,
        "cosine": cosine,
        "angle": math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) if known else math.nan,
        "norm_ratio": ratio,
        "sign_agreement": float(sign_agreement(ours, theirs)),
    }


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
