"""How a rule's update compares with the true gradient, layer by layer, on one's own model."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bioplaus.errors import BioplausError, ConfigError, ModelError
from bioplaus.learning.alignment import by_layer, cosine_and_ratio, sign_agreement
from bioplaus.learning.batching import stack, unstack
from bioplaus.learning.gradients import batched_loss_grad, batched_objective_grad
from bioplaus.learning.rule import State
from bioplaus.own_model.inputs import (
    ArrayLike,
    RuleLike,
    batch_of,
    check_surroundings,
    chosen_loss,
    chosen_rule,
    chosen_seed,
    examples,
)
from bioplaus.own_model.learner import Learner
from bioplaus.own_model.own_network import OwnNetwork
from bioplaus.own_model.rule_state import RuleState
from bioplaus.plugins import defaults

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

COLUMNS = ("layer", "reference", "cosine", "angle", "norm_ratio", "sign_agreement")


def alignment(
    model: nn.Module,
    x: ArrayLike,
    y: ArrayLike,
    rule: RuleLike | Learner = defaults.RULE,
    *,
    loss: str = "mse",
    seed: int = 0,
    plugin: str | PathLike[str] | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """A rule's update beside the gradient of the loss, one row for each layer with weights.

    model, x, y, loss, plugin: as for `bioplaus.backward`. rule: a rule's name, class or object,
    which starts from its first state of `seed`, or a Learner, with the state that it has by now
    (then `loss`, `seed` and options are the learner's). Nothing is changed, and the model is
    taken as in `eval` mode.

    Columns: `layer`, counted from 1 among the network's layers, pools and all; `reference`,
    "loss", and for rules that descend an objective of their own "objective" too; `cosine` and
    `angle` in degrees between update and gradient; `norm_ratio`, |update| / |gradient|;
    `sign_agreement`, the share of a layer's parameters whose update and gradient, where that
    is not 0, have the same sign. The rule's own regulariser is left out. Of a parameter that
    stands at several places, each place is compared by itself.

    Raises ModelError, UnsupportedError, UnknownNameError or ConfigError, as `backward`.

        table = bioplaus.alignment(model, x, y, "feedback-alignment", loss="cross_entropy")
        bioplaus.plot_alignment(table)
    """
    import pandas

    check_surroundings()
    x = examples(x)
    if isinstance(rule, Learner):
        own, state = rule.alignment_state(model)
        if options or plugin is not None:
            raise ConfigError("a learner has its options already: give them when it is made")
        batch = batch_of(x, y, own)
        if batch.y.shape[1] != own.outputs:
            raise ModelError(
                f"targets have {batch.y.shape[1]} columns, but the model {own.outputs} outputs"
            )
    else:
        own = OwnNetwork(model, tuple(x.shape[1:]), chosen_loss(loss))
        batch = batch_of(x, y, own)
        own.narrow(batch.y.shape[1])
        own.check_forward()
        state = RuleState(chosen_rule(rule, options, plugin), own, chosen_seed(seed))
    with torch.no_grad():
        update = state.look(own, batch).grads
    at_rest = stack([own.params() | own.norms.running(training=False)])
    references = {"loss": batched_loss_grad(own.net)(at_rest, batch)}
    values, noise = state.values(), state.noise(batch)
    if state.rule.objective_at(own.net, unstack(at_rest, 0), values, batch, noise) is not None:
        stacked = State(stack([values.aux]), stack([values.memory]))
        gradient = batched_objective_grad(state.rule, own.net)
        references["objective"] = gradient(at_rest, batch, stacked, stack([noise]))
    rows = [
        _row(l, ours, theirs, name)
        for name, gradient in references.items()
        for l, ours, theirs in by_layer(own.net, stack([update]), gradient)
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
