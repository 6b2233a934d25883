"""Every registered rule, on every activation that it supports, stays finite where backprop does."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.batching import Rule, cast
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import ACTIVATIONS
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from tests.helpers.networks import get_rule, make_network, noise_for, random_batch, random_params

SINGLE = torch.float32, torch.device("cpu")
INPUTS = {
    "zero": lambda x: 0 * x,
    "constant": lambda x: 0 * x + 1,
    "one example's alone": lambda x: x * (torch.arange(len(x)) == 0)[:, None],
    "saturating": lambda x: 1e4 * x,
    "huge": lambda x: 1e19 * x,
}
LOSSES = "mse", "cross_entropy"


def networks() -> list[Network]:
    return [
        make_network((6, 6, 6, 6), activation, loss, classes=4, bias=bias)
        for activation in ACTIVATIONS
        for loss in LOSSES
        for bias in (True, False)
    ]


def finite(params: Params) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in params.values())


def silenced(net: Network, params: Params) -> Params:
    """No unit of a relu answers, and the others saturate."""
    return {n: t - 100 if n.endswith("bias") and n != "3.bias" else t for n, t in params.items()}


def overshoots(rule: Rule, net: Network, params: Params, batch: Batch) -> bool:
    """Weights that move within a batch by `rate` diverge where it exceeds 2 / curvature.

    The squared error's curvature in a layer's weights is the largest eigenvalue of <h h^T>.
    """
    if rule.name != "incremental-predictive-coding":
        return False
    inputs = [batch.x, *(step.output for step in net.forward(params, batch.x)[:-1])]
    norms = (float(torch.linalg.matrix_norm(h.double(), 2)) for h in inputs)
    return any(rule.config.rate * norm**2 > 2 * len(batch.x) for norm in norms)


def infinite_cases(name: str, options: dict[str, object], net: Network) -> list[str]:
    """Where the rule's update is not finite, though backprop's is."""
    rule, reference = get_rule(name, **options), get_rule("backprop")
    if rule.supports(net) is not None:
        return []
    drawn = random_batch(net, 8, 0)
    found = []
    for silent in (False, True):
        params = random_params(net, 0)
        params = cast(silenced(net, params) if silent else params, *SINGLE)
        start = rule.init_state(net, params, Stream(0))
        state = State(cast(start.aux, *SINGLE), cast(start.memory, *SINGLE))
        for kind, change in INPUTS.items():
            batch = Batch(change(drawn.x).float(), drawn.y.float())
            plain = reference.update(net, params, State({}, {}), batch, {})
            # a perturbed loss is a little larger than the loss: leave it room
            if not (finite(plain.grads) and float(plain.metrics["loss"]) < 1e36):
                continue
            if overshoots(rule, net, params, batch):
                continue
            # where the example is the target, its squares are in the loss
            if rule.needs == "examples" and float(batch.x.square().sum()) >= 1e36:
                continue
            update = rule.update(net, params, state, batch, noise_for(rule, net, batch))
            parts = (update.grads, update.penalty, update.aux_grads, update.memory, update.metrics)
            if not all(finite(part) for part in parts):
                found.append(f"{net.layers[0].activation}, {net.loss.name}, {kind}, {silent=}")
    return found


VARIANTS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in registry.names("rule")),
    ("consequentialism", {"form": "nlms", "eps": 0.0}),
    ("gaitprop", {"form": "finite"}),
    ("gaitprop", {"inverse": "learned"}),
    ("itp", {"form": "finite"}),
    ("predictive-coding", {"order": "top-down"}),
    ("targetprop", {"inverse_loss": "l-drl"}),
    ("targetprop", {"inverse": "exact"}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_updates_are_finite_where_backprops_are(name: str, options: dict[str, object]) -> None:
    assert [case for net in networks() for case in infinite_cases(name, options, net)] == []


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("targetprop-exact", {}, "leave the range"),
        ("gaitprop", {"form": "finite"}, "leave the range"),
        ("itp", {}, "vanishes"),
    ],
)
def test_what_has_no_inverse_or_slope_is_refused_with_a_reason(
    name: str, options: dict[str, object], why: str, activation: str
) -> None:
    reason = get_rule(name, **options).supports(make_network((6, 6, 6, 6), activation, "mse"))
    assert reason is not None
    assert why in reason
    assert activation in reason


def test_examples_that_are_zero_move_nothing_under_consequentialism() -> None:
    net = make_network((6, 6, 4), "tanh", "mse", bias=False)
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    rule = get_rule("consequentialism")
    update = rule.update(net, params, State({}, {}), Batch(0 * batch.x, batch.y), {})
    assert all(not grad.any() for grad in update.grads.values())


@pytest.mark.parametrize("form", ["apa", "nlms"])
def test_consequentialism_is_as_exact_at_any_scale_of_the_inputs(form: str) -> None:
    """Inputs s times as large want steps s times as small: in single precision too."""
    net = make_network((6, 4), "identity", "mse", bias=False)
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    rule, outputs = get_rule("consequentialism", form=form), net.output(params, batch.x)
    (expected,) = rule.update(net, params, State({}, {}), batch, {}).grads.values()
    single = cast(params, *SINGLE)
    for scale in (1e-15, 1e15):
        x, y = (scale * batch.x).float(), batch.y.float()
        small = {name: t / scale for name, t in single.items()}
        assert torch.allclose(net.output(small, x).double(), outputs, rtol=1e-4, atol=1e-5)
        (grad,) = rule.update(net, small, State({}, {}), Batch(x, y), {}).grads.values()
        assert torch.allclose(scale * grad.double(), expected, rtol=1e-3, atol=1e-5)
