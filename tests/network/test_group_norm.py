"""Layer and group normalisation: torch's own, exact derivatives, and who may train them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bioplaus.errors import BioplausError, ConfigError
from bioplaus.experiments.experiment import configure, plan
from bioplaus.learning.rule import Batch, State
from bioplaus.network.group_norm import GroupNorm
from bioplaus.network.layer import Init
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.tasks.task import read_task
from bioplaus.testing.layers import check_layer
from tests.helpers.tiny import TINY
from tests.helpers.training import train

LAYERS = [GroupNorm((6,)), GroupNorm((6,), 3), GroupNorm((4, 3, 2)), GroupNorm((4, 3, 2), 2)]
NORMED = """layers = [
    { type = "dense", units = 16 },
    { type = "layer_norm", activation = "tanh" },
    { type = "dense", units = 16 },
    { type = "group_norm", groups = 4, activation = "tanh" },
"""


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_its_algebra_is_that_of_its_forward_pass(layer: GroupNorm) -> None:
    check_layer(layer)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_it_is_torchs(layer: GroupNorm) -> None:
    gain, shift = Stream(0).normal((2, layer.below[0])).unbind()
    theirs = nn.GroupNorm(layer.groups, layer.below[0], dtype=torch.float64)
    theirs.load_state_dict({"weight": gain, "bias": shift})
    x = Stream(1).normal((5, *layer.below))
    ours, _ = layer.forward({"gain": gain, "shift": shift}, x)
    torch.testing.assert_close(ours, theirs(x), rtol=1e-12, atol=1e-12)
    if layer.groups == 1 and len(layer.below) == 1:
        normed = nn.LayerNorm(layer.below, dtype=torch.float64)
        normed.load_state_dict({"weight": gain, "bias": shift})
        torch.testing.assert_close(ours, normed(x), rtol=1e-12, atol=1e-12)


def test_it_starts_as_the_plain_normalisation() -> None:
    layer = LAYERS[3]
    a, _ = layer.forward(layer.init(Stream(0), Init()), 7 + 3 * Stream(1).normal((9, 4, 3, 2)))
    groups = a.reshape(9, 2, -1)
    assert groups.mean(-1).abs().max() < 1e-12
    assert groups.std(-1, correction=0).sub(1).abs().max() < 1e-5  # eps by the variance of 9


@pytest.fixture
def normed(tiny: Path) -> Path:
    tiny.write_text(TINY.replace("layers = [\n", NORMED))
    return tiny


NODES = """nodes = [
    { name = "a", units = 16, inputs = ["x"] },
    { name = "n", type = "group_norm", groups = 4, activation = "tanh" },
    { name = "b", units = 16 },
    { name = "s", type = "add", inputs = ["b", "n"] },
    { name = "m", type = "layer_norm", activation = "tanh" },
    { name = "o", units = 10 },
]
"""


@pytest.mark.parametrize("graph", [False, True])
def test_backprop_is_autograd_through_it(normed: Path, graph: bool) -> None:
    """The whole network's gradient, gains and shifts included, by the rule and by torch."""
    if graph:
        normed.write_text(TINY.partition("layers = [")[0] + NODES)
    experiment = configure("backprop", read_task(str(normed)), {}, "fp64")
    net, rule = experiment.network, experiment.rule
    params = net.init(Stream(0))
    assert sum(name.endswith((".gain", ".shift")) for name in params) == 4
    params = {n: p + 0.1 * Stream(1).at(n).normal(tuple(p.shape)) for n, p in params.items()}
    x = Stream(2).normal((7, *net.in_shape))
    y = torch.eye(10, dtype=torch.float64)[[3, 1, 4, 1, 5, 9, 2]]

    update = rule.update(net, params, State({}, {}), Batch(x, y), {})
    due = torch.func.grad(lambda p: net.mean_loss(p, x, y))(params)
    for name, grad in due.items():
        torch.testing.assert_close(update.grads[name], grad, rtol=1e-9, atol=1e-12)


def test_it_trains_under_rules_that_may_and_the_others_say_why(
    normed: Path, tmp_path: Path
) -> None:
    done = train(
        normed, tmp_path / "r", "backprop", "feedback-alignment", "sign-symmetry", seeds=[0],
        epochs=8, settings={"optimizer.name": "adam", "optimizer.lr": 1e-2},
    )  # fmt: skip
    assert not done.problems
    for record in done.records:
        first, *_, last = record.curves.metrics["loss"]
        assert first is not None and last is not None and last < 0.8 * first
    net = read_task(str(normed)).build_network()
    may = set()
    for name in registry.names("rule"):
        rule = registry.load("rule", name).configured()
        reason = rule.supports(net)
        if rule.mixes_examples:
            may.add(name)
            assert reason is None or "normalises" not in reason, name
        else:
            assert reason is not None, name
    assert {"backprop", "feedback-alignment", "kolen-pollack", "weight-mirror"} <= may
    with pytest.raises(BioplausError, match="layer 2 normalises each example"):
        plan(["predictive-coding"], str(normed))


@pytest.mark.parametrize(("groups", "words"), [(4, "cannot share 6"), (6, "has one value")])
def test_groups_that_cannot_be_are_refused(groups: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GroupNorm((6,), groups)
