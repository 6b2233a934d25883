"""Target propagation: with exact inverses, injected inverses, and inverses that are learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.rules.targetprop import Inverse, TargetPropConfig, offset_by, target_deltas
from tests.helpers.functions import FORWARD, INVERSE, LEAKY, SLOPE
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    chain,
    condition,
    forward_pass,
    get_rule,
    layer_jacobians,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)


def tp_exact_grads(
    net: Network, params: Params, batch: Batch, activation: str, step: float
) -> Params:
    """Whole targets through exact inverses, one example after the other; square layers, mse."""
    grads = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for x, y in zip(batch.x, batch.y, strict=True):
        h, a = [x], [x]
        for l in range(1, net.depth + 1):
            a.append(params[f"{l}.weight"] @ h[-1] + params[f"{l}.bias"])
            h.append(FORWARD[activation](a[-1]))
        e = torch.cat([h[-1][: net.classes] - y, torch.zeros_like(h[-1][net.classes :])])
        t = h[-1] - step * e
        for l in range(net.depth, 0, -1):
            assert t.isfinite().all()
            d = SLOPE[activation](a[l]) * (h[l] - t) / step
            grads[f"{l}.weight"] += torch.outer(d, h[l - 1]) / len(batch.x)
            grads[f"{l}.bias"] += d / len(batch.x)
            drive = INVERSE[activation](t) - params[f"{l}.bias"]
            t = torch.linalg.solve(params[f"{l}.weight"], drive)
    return grads


def worst_condition(net: Network, params: Params, batch: Batch) -> float:
    """The worst conditioned map from layer 1 to the output, of any example."""
    return max(
        condition(chain(layer_jacobians(net, params, one.x)[1:])) for one in single_examples(batch)
    )


def injected(
    net: Network, params: Params, batch: Batch, inverse: Inverse, **options: object
) -> list[Tensor]:
    """d_1 .. d_L with these inverses."""
    fwd = forward_pass(net, params, batch)
    config = TargetPropConfig.model_validate(options)
    return target_deltas(fwd, offset_by(fwd, inverse, config.difference), config)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target_step", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("activation", [LEAKY, "identity"])
def test_t_tp_1_with_exact_inverses_difference_is_vanilla_is_tp_exact(
    activation: str, target_step: float, seed: int
) -> None:
    net = make_network([16] * 5, activation, "mse", classes=10)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 4, seed)
    options: dict[str, Any] = {"inverse": "exact", "target_step": target_step}
    difference = run_rule("targetprop", net, params, batch, difference=True, **options).grads
    vanilla = run_rule("targetprop", net, params, batch, difference=False, **options).grads
    tolerance = EXACT * max(1, 1 / target_step) * worst_condition(net, params, batch)
    expected = tp_exact_grads(net, params, batch, activation, target_step)
    assert worst(difference, expected) <= tolerance
    assert worst(vanilla, expected) <= tolerance
    assert worst(difference, vanilla) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target_step", [1e-2, 1e-3])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_t_tp_1_holds_inside_the_range_of_a_bounded_activation(
    activation: str, target_step: float, seed: int
) -> None:
    net = make_network([8] * 4, activation, "mse", classes=5)
    params, batch = random_params(net, seed), random_batch(net, 4, seed)
    options: dict[str, Any] = {"inverse": "exact", "target_step": target_step}
    difference, vanilla = (  # refused, since a target may leave the range: these do not
        get_rule("targetprop", difference=explained, **options)
        .update(net, params, State({}, {}), batch, {})
        .grads
        for explained in (True, False)
    )
    tolerance = EXACT * max(1, 1 / target_step) * worst_condition(net, params, batch)
    expected = tp_exact_grads(net, params, batch, activation, target_step)
    assert worst(difference, expected) <= tolerance
    assert worst(vanilla, expected) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("difference", [True, False])
def test_tp_exact_inverts_the_whole_target(difference: bool, seed: int) -> None:
    net = make_network([16] * 5, LEAKY, "mse", classes=10)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    options: dict[str, Any] = {"inverse": "exact", "target_step": 1.0, "difference": difference}
    update = run_rule("targetprop", net, params, batch, **options)
    expected = tp_exact_grads(net, params, batch, LEAKY, 1.0)  # t_L = [y ; h_L beyond]
    tolerance = EXACT * worst_condition(net, params, batch)
    assert worst(update.grads, expected) <= tolerance
    gait: dict[str, Any] = {"form": "finite", "gamma": 1.0, "adjust": False}
    assert worst(run_rule("gaitprop", net, params, batch, **gait).grads, expected) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target_step", [1.0, 1e-3, 1e-5])
def test_t_tp_2_targets_are_gauss_newton_in_a_linear_square_network(
    target_step: float, seed: int
) -> None:
    net = make_network([12] * 5, "identity", "mse", classes=5)
    params = random_params(net, seed, scheme="gaussian")
    options: dict[str, Any] = {"inverse": "exact", "target_step": target_step}
    for batch in single_examples(random_batch(net, 3, seed)):
        grads = run_rule("targetprop", net, params, batch, **options).grads
        e_top = net.loss.error(net.output(params, batch.x), batch.y)[0]
        for l in range(1, net.depth):
            jacobian = chain([params[f"{k}.weight"] for k in range(l + 1, net.depth + 1)])
            moved = -target_step * grads[f"{l}.bias"]  # t_l - h_l
            expected = -target_step * torch.linalg.solve(jacobian, e_top)
            tolerance = 1e-11 * condition(jacobian) * max(1, 1e-3 / target_step)
            assert rel(moved, expected) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
def test_t_tp_3_layerwise_pseudo_inverses_are_not_the_pseudo_inverse_of_the_chain(
    seed: int,
) -> None:
    net = make_network((20, 16, 12, 8, 4), "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    weights = [params[f"{l}.weight"] for l in range(1, net.depth + 1)]

    def pseudo_inverse(l: int, v: Tensor) -> Tensor:
        return (v - params[f"{l + 1}.bias"]) @ torch.linalg.pinv(weights[l]).T

    eta = 0.1
    for batch in single_examples(random_batch(net, 3, seed)):
        deltas = injected(net, params, batch, pseudo_inverse, target_step=eta)
        e_top = net.loss.error(net.output(params, batch.x), batch.y)[0]
        for l in range(1, net.depth):
            moved = -eta * deltas[l - 1][0]  # t_l - h_l; f' = 1
            jacobian = chain(weights[l:])
            newton = -eta * torch.linalg.pinv(jacobian) @ e_top
            if l == net.depth - 1:
                assert rel(moved, newton) <= EXACT
            else:
                assert rel(moved, newton) > 0.1
            assert rel(jacobian @ moved, -eta * e_top) <= 1e-12
            assert rel(jacobian @ newton, -eta * e_top) <= 1e-12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target_step", [1.0, 1e-4])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "sigmoid"])
def test_t_tp_4_affine_inverse_with_the_transposed_jacobian_gives_backprop(
    activation: str, loss: str, target_step: float, seed: int
) -> None:
    net = make_network((9, 12, 7, 5, 4), activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    trace = net.forward(params, batch.x)

    def transposed(l: int, v: Tensor) -> Tensor:
        step = trace[l]
        return step.input + (step.slope * (v - step.output)) @ params[f"{l + 1}.weight"]

    deltas = injected(net, params, batch, transposed, target_step=target_step)
    grads = net.weight_grads(trace, deltas)
    tolerance = EXACT * max(1, 1 / target_step)
    assert worst(grads, autograd_grads(net, params, batch)) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
def test_t_tp_4_curved_inverse_is_off_in_proportion_to_the_target_step(seed: int) -> None:
    net = make_network((9, 12, 7, 5, 4), "tanh", "mse")
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    trace = net.forward(params, batch.x)
    expected = autograd_grads(net, params, batch)

    def curved(l: int, v: Tensor) -> Tensor:
        step = trace[l]
        return step.input + torch.expm1(step.slope * (v - step.output)) @ params[f"{l + 1}.weight"]

    far, near = (
        net.weight_grads(trace, injected(net, params, batch, curved, target_step=eta))
        for eta in (1e-3, 1e-4)
    )
    for name in ("1.weight", "1.bias", "2.weight", "2.bias", "3.weight", "3.bias"):
        assert 9 <= rel(far[name], expected[name]) / rel(near[name], expected[name]) <= 11


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top", ["target", "gradient"])
@pytest.mark.parametrize("difference", [True, False])
@pytest.mark.parametrize("inverse", ["exact", "learned"])
def test_tower_auxiliary_units_have_no_error(
    inverse: str, difference: bool, top: str, seed: int
) -> None:
    widths = (20, 20, 12, 8, 4)
    net = make_network(widths, LEAKY, "mse", kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    options: dict[str, Any] = {"inverse": inverse, "difference": difference, "top": top}
    grads = run_rule("targetprop", net, params, batch, seed, **options).grads
    for l, read_above in enumerate(widths[2:], start=1):
        assert not grads[f"{l}.weight"][read_above:].any()
        assert not grads[f"{l}.bias"][read_above:].any()
        assert grads[f"{l}.weight"][:read_above].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_targets_in_a_tower_replace_only_what_is_read(seed: int) -> None:
    net = make_network((12, 12, 8, 4), LEAKY, "mse", kind="tower")
    params = random_params(net, seed, scheme="gaussian")
    for batch in single_examples(random_batch(net, 3, seed)):
        options: dict[str, Any] = {"inverse": "exact", "target_step": 1.0}
        d = run_rule("targetprop", net, params, batch, **options).grads["2.bias"]
        step = net.forward(params, batch.x)[1]
        t = torch.linalg.solve(params["3.weight"], INVERSE[LEAKY](batch.y[0]) - params["3.bias"])
        expected = torch.cat([step.output[0, :4] - t, torch.zeros(4, dtype=torch.float64)])
        assert rel(d, step.slope[0] * expected) <= EXACT * condition(params["3.weight"])


def test_supports_learned_inverses_on_any_shape_and_exact_ones_on_square_layers() -> None:
    rectangular = make_network((6, 5, 4), "tanh", "mse")
    assert get_rule("targetprop").supports(rectangular) is None
    assert get_rule("targetprop").supports(make_network((6, 6, 6), "relu", "mse")) is None
    reason = get_rule("targetprop", inverse="exact").supports(rectangular)
    assert reason is not None
    assert "layer 2" in reason
    assert "4 x 5" in reason
