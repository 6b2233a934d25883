"""The feedback-alignment family: direct feedback, sign symmetry, Kolen-Pollack, weight mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    chain,
    get_rule,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

CASES = [
    ("dense", (9, 12, 7, 5, 4), "leaky_relu(0.1)", "mse"),
    ("dense", (9, 12, 7, 5, 4), "tanh", "cross_entropy"),
    ("tower", (12, 12, 8, 4), "sigmoid", "cross_entropy"),
]
every_case = pytest.mark.parametrize(("kind", "widths", "activation", "loss"), CASES)
every_seed = pytest.mark.parametrize("seed", SEEDS)


def upper_weights(params: Params) -> Params:
    """The weights of the layers above the first."""
    return {k: v for k, v in params.items() if k.endswith("weight") and k != "1.weight"}


def xavier_deviation(weight: Tensor) -> float:
    return float((2 / sum(weight.shape)) ** 0.5)


# Feedback alignment and direct feedback alignment


@every_seed
@every_case
@pytest.mark.parametrize("name", ["feedback-alignment", "kolen-pollack", "weight-mirror"])
def test_t_fa_1_is_backprop_when_the_feedback_is_the_transpose(
    name: str, kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    drawn = get_rule(name).init_state(net, params, Stream(seed))
    mirror = upper_weights(params)
    state = State(mirror, {}) if drawn.aux else State({}, mirror)
    assert drawn.aux.keys() == state.aux.keys()
    assert drawn.memory.keys() == state.memory.keys()
    grads = run_rule(name, net, params, batch, state=state).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@pytest.mark.parametrize(("activation", "loss"), [("tanh", "mse"), ("sigmoid", "cross_entropy")])
def test_t_fa_2_is_feedback_alignment_below_one_hidden_layer(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network((9, 12, 5), activation, loss)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    chained = get_rule("feedback-alignment").init_state(net, params, Stream(seed))
    direct = State({}, {"1.feedback": chained.memory["2.weight"].T})
    assert (
        worst(
            run_rule("direct-feedback-alignment", net, params, batch, state=direct).grads,
            run_rule("feedback-alignment", net, params, batch, state=chained).grads,
        )
        <= EXACT
    )


@every_seed
def test_t_fa_3_is_backprop_in_a_linear_network_with_the_chain_of_transposes(seed: int) -> None:
    net = make_network((9, 12, 7, 5, 4), "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    above = {l: [params[f"{k}.weight"] for k in range(l + 1, 5)] for l in (1, 2, 3)}
    state = State({}, {f"{l}.feedback": chain(weights).T for l, weights in above.items()})
    drawn = get_rule("direct-feedback-alignment").init_state(net, params, Stream(seed)).memory
    assert {k: v.shape for k, v in drawn.items()} == {k: v.shape for k, v in state.memory.items()}
    grads = run_rule("direct-feedback-alignment", net, params, batch, state=state).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
def test_direct_feedback_carries_the_outputs_delta_past_the_layers_between(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = get_rule("direct-feedback-alignment").init_state(net, params, Stream(seed))
    h = [batch.x]
    for l in (1, 2, 3):
        h.append(torch.tanh(h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    top = (1 - h[3] ** 2) * (h[3] - batch.y)
    expected = {}
    for l in (1, 2, 3):
        d = top if l == 3 else (1 - h[l] ** 2) * (top @ state.memory[f"{l}.feedback"].T)
        expected |= {f"{l}.weight": d.T @ h[l - 1] / len(d), f"{l}.bias": d.mean(0)}
    grads = run_rule("direct-feedback-alignment", net, params, batch, state=state).grads
    assert worst(grads, expected) <= EXACT


@every_seed
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("feedback-alignment", 2 / 500),
        ("direct-feedback-alignment", 2 / 500),
        ("kolen-pollack", 1 / 500),
        ("weight-mirror", 1 / 500),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_feedback_starts_with_the_variance_of_the_description(
    gain: float, name: str, variance: float, seed: int
) -> None:
    net = make_network((4, 300, 200), "tanh", "mse")
    rule = get_rule(name, feedback_gain=gain)
    state = rule.init_state(net, random_params(net, 0), Stream(seed))
    (feedback,) = (state.aux | state.memory).values()
    expected = gain * variance**0.5
    # four standard errors of 60,000 normal numbers, which a uniform's are below
    assert abs(float(feedback.mean())) <= 4 * expected / 60_000**0.5
    assert abs(float(feedback.std()) / expected - 1) <= 4 / (2 * 60_000) ** 0.5


# Sign symmetry


@every_seed
@every_case
@pytest.mark.parametrize("magnitude", ["fixed", "batch"])
def test_t_sf_is_backprop_when_the_magnitudes_are_the_weights(
    magnitude: str, kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    sizes = {name: w.abs() for name, w in upper_weights(params).items()}
    # the harness draws u, and |M| = b u with Xavier's bound b
    shares = {name: m / (3**0.5 * xavier_deviation(m)) for name, m in sizes.items()}
    rule = get_rule("sign-symmetry", magnitude=magnitude)
    drawn = rule.init_state(net, params, Stream(seed)).memory
    fixed = magnitude == "fixed"
    assert drawn.keys() == (sizes.keys() if fixed else set())
    state = State({}, sizes if fixed else {})
    update = rule.update(net, params, state, batch, {} if fixed else shares)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@every_case
def test_t_sf_is_backprop_when_all_weights_have_the_uniform_magnitude(
    kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    params |= {k: xavier_deviation(w) * w.sign() for k, w in upper_weights(params).items()}
    batch = random_batch(net, 8, seed)
    grads = run_rule("sign-symmetry", net, params, batch, seed).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@pytest.mark.parametrize("magnitude", ["uniform", "fixed", "batch"])
def test_a_weight_of_zero_has_no_feedback(magnitude: str, seed: int) -> None:
    net = make_network((9, 12, 5), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    silent = params["2.weight"].clone()
    silent[:, 3] = 0
    update = run_rule(
        "sign-symmetry", net, params | {"2.weight": silent}, batch, seed, magnitude=magnitude
    )
    learns = update.grads["1.weight"].any(1)
    assert not learns[3]
    assert learns.sum() == 11


@every_seed
def test_magnitudes_are_xaviers_and_fresh_for_every_batch_only_where_declared(seed: int) -> None:
    net = make_network((4, 300, 200), "tanh", "mse")
    params = random_params(net, seed)
    bound = (6 / 500) ** 0.5
    fixed = get_rule("sign-symmetry", magnitude="fixed")
    assert fixed.noise(net, 8) == {}
    size = fixed.init_state(net, params, Stream(seed)).memory["2.weight"]
    assert 0 <= size.min() <= size.max() <= bound
    # the mean of 60,000 uniform numbers, to four standard errors
    assert abs(float(size.mean()) / bound - 0.5) <= 4 / (12 * 60_000) ** 0.5
    fresh = get_rule("sign-symmetry", magnitude="batch")
    source = NoiseSource(fresh.noise(net, 8), [seed], torch.float64, torch.device("cpu"))
    first, second = source.at(0), source.at(1)
    assert {name: tuple(u.shape[1:]) for name, u in first.items()} == {"2.weight": (200, 300)}
    assert rel(first["2.weight"], second["2.weight"]) > 0.5


# Kolen-Pollack


def easy_batch(net: Network, seed: int, number: int) -> Batch:
    """A cluster of examples for each class, the same clusters whatever the number."""
    batch = random_batch(net, 32, seed + 1000 * number)
    centres = Stream(seed).at("centres").normal((net.classes, *net.in_shape))
    return Batch(2 * batch.y @ centres + 0.3 * batch.x, batch.y)


def kolen_pollack_run(
    spec: OptimizerSpec, steps: int, seed: int
) -> Iterator[tuple[Params, Params]]:
    """W and B shaped like it, of the layers above the first: at the start and after each step."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    rule = get_rule("kolen-pollack")
    params = random_params(net, seed, scheme="gaussian")
    state = rule.init_state(net, params, Stream(seed).at("state"))
    optimizers = [spec.build(group.values()) for group in (params, state.aux)]
    batches = [easy_batch(net, seed, number) for number in range(5)]
    yield upper_weights(params), state.aux
    for step in range(steps):
        update = rule.update(net, params, state, batches[step % 5], {})
        for group, grads in ((params, update.grads), (state.aux, update.aux_grads)):
            for name, tensor in group.items():
                tensor.grad = grads[name]
        for optimizer in optimizers:
            optimizer.step()
        yield upper_weights(params), state.aux


def differences(run: Iterator[tuple[Params, Params]]) -> Iterator[Params]:
    """W - B^T, detached from what the optimizers go on to change."""
    return ({name: w[name] - b[name] for name in b} for w, b in run)


def farthest(found: Params, expected: Params, scale: Params) -> float:
    """The largest error of any tensor, relative to the norm of `scale`."""
    return max(float((found[k] - expected[k]).norm() / scale[k].norm()) for k in scale)


def shrunk(start: Params, factor: float) -> Params:
    return {name: factor * tensor for name, tensor in start.items()}


@every_seed
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_t_kp_1_the_difference_shrinks_by_the_decay_at_every_step(name: str, seed: int) -> None:
    lr, decay = (0.1, 0.1) if name == "sgd" else (0.01, 1.0)
    spec = OptimizerSpec.model_validate({"name": name, "lr": lr, "weight_decay": decay})
    start, *later = differences(kolen_pollack_run(spec, 200, seed))
    for t, found in enumerate(later, 1):
        assert farthest(found, shrunk(start, (1 - lr * decay) ** t), start) <= EXACT


@every_seed
def test_t_kp_1_with_momentum_the_difference_has_momentum(seed: int) -> None:
    spec = get_rule("kolen-pollack").optimizer
    assert spec is not None
    assert spec.momentum
    assert spec.weight_decay
    start, *later = differences(kolen_pollack_run(spec, 200, seed))
    factor, velocity = 1.0, 0.0
    for found in later:
        velocity = spec.momentum * velocity + spec.weight_decay * factor
        factor -= spec.lr * velocity
        assert farthest(found, shrunk(start, factor), start) <= EXACT


@every_seed
def test_t_kp_1_adam_with_an_l2_term_does_not_shrink_it_so(seed: int) -> None:
    spec = OptimizerSpec(name="adam", lr=0.01, weight_decay=0.1)
    start, *later = differences(kolen_pollack_run(spec, 200, seed))
    assert farthest(later[-1], shrunk(start, (1 - 0.001) ** 200), start) > 1e-3


@every_seed
def test_t_kp_1_without_decay_the_difference_is_constant(seed: int) -> None:
    start, *later = differences(kolen_pollack_run(OptimizerSpec(name="sgd", lr=0.1), 200, seed))
    for found in later:
        assert farthest(found, start, start) <= EXACT


@every_seed
def test_t_kp_2_the_feedback_comes_to_mirror_the_weights(seed: int) -> None:
    spec = OptimizerSpec(name="sgd", lr=0.1, weight_decay=0.1)
    *_, (weights, feedback) = kolen_pollack_run(spec, 1000, seed)
    for name, w in weights.items():
        b = feedback[name]
        # so strong a decay puts out weights that have nothing to learn, and with them the match
        assert w.norm() > 0.1
        assert float((w * b).sum() / (w.norm() * b.norm())) >= 0.9999


@every_seed
def test_the_feedback_gets_copies_of_the_weights_gradients(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    update = run_rule("kolen-pollack", net, random_params(net, seed), random_batch(net, 8, seed))
    assert update.aux_grads.keys() == {"2.weight", "3.weight"}
    for name, grad in update.aux_grads.items():
        assert torch.equal(grad, update.grads[name])
        # clipping both in place must scale each of them once
        assert grad.data_ptr() != update.grads[name].data_ptr()
    assert get_rule("kolen-pollack").aux_optimizer == "same"


# Weight mirror


def whitened(seed: int, l: int, count: int, width: int, s: float) -> Tensor:
    """count patterns with a mean of exactly 0 and a covariance of s^2 I."""
    drawn = Stream(seed).at("patterns", l).normal((count, width))
    q, _ = torch.linalg.qr(drawn - drawn.mean(0))
    return s * count**0.5 * q


def mirrored(
    net: Network, params: Params, patterns: Callable[[int, int], Tensor], **options: object
) -> Params:
    """Feedback that starts from 0, after one step of mirroring those patterns (layer, width)."""
    half_width = 0.05
    xi = {l: patterns(l, net.layers[l - 1].in_shape[0]) for l in range(2, net.depth + 1)}
    noise = {str(l): (pattern / half_width + 1) / 2 for l, pattern in xi.items()}
    settings = {"mirror_noise": half_width, "mirror_batch": len(xi[2]), "mirror_decay": 0.0}
    rule = get_rule("weight-mirror", **settings, **options)
    specs = rule.noise(net, 8)
    assert {name: spec.shape for name, spec in specs.items()} == {
        name: u.shape for name, u in noise.items()
    }
    zero = {name: torch.zeros_like(w) for name, w in upper_weights(params).items()}
    return rule.update(net, params, State({}, zero), random_batch(net, 8, 0), noise).memory


@every_seed
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("kind", ["dense", "tower"])
def test_t_wm_1_a_linear_layer_is_mirrored_exactly_by_zero_mean_whitened_noise(
    kind: str, centre: bool, seed: int
) -> None:
    s, rate = 0.03, 1.28
    net = make_network((12, 12, 8, 4), "identity", "mse", kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    found = mirrored(
        net, params, lambda l, n: whitened(seed, l, 40, n, s), centre=centre, mirror_rate=rate
    )
    expected = {name: rate * s**2 * w for name, w in upper_weights(params).items()}
    assert worst(found, expected) <= EXACT


@every_seed
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("s", "tolerance"), [(0.1, 1e-2), (0.01, 1e-4), (0.001, 1e-6)])
def test_t_wm_2_a_sigmoid_layer_is_mirrored_times_its_slope(
    s: float, tolerance: float, centre: bool, seed: int
) -> None:
    net = make_network((12, 12, 8, 4), "sigmoid", "mse")
    params = random_params(net, seed, scheme="gaussian")

    def antithetic(l: int, n: int) -> Tensor:
        half = whitened(seed, l, 40, n, s)
        return torch.cat([half, -half])

    found = mirrored(net, params, antithetic, centre=centre, mirror_rate=1.0)
    for name, w in upper_weights(params).items():
        response = torch.sigmoid(params[name.replace("weight", "bias")])
        slope = response * (1 - response)
        assert rel(found[name], s**2 * slope[:, None] * w) <= tolerance


@every_seed
def test_the_mirror_decays_and_serves_from_the_next_step_on(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    rule = get_rule("weight-mirror", mirror_decay=0.25, mirror_rate=2.0, mirror_batch=16)
    state = rule.init_state(net, params, Stream(seed))
    noise = noise_for(rule, net, batch, seed)
    update = rule.update(net, params, state, batch, noise)
    for l in (2, 3):
        xi = 0.05 * (2 * noise[str(l)] - 1)
        a = xi @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        z = a if l == 3 else torch.tanh(a)
        signal = (z - z.mean(0)).T @ xi / 16
        expected = 0.75 * state.memory[f"{l}.weight"] + 2.0 * signal
        assert rel(update.memory[f"{l}.weight"], expected) <= EXACT
    fixed = run_rule("feedback-alignment", net, params, batch, state=state).grads
    assert worst(update.grads, fixed) <= EXACT


@every_seed
def test_by_default_decay_and_mirror_balance_where_the_feedback_is_the_transpose(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    half_width, rate, decay = 0.05, 1.28, 1e-3
    deviation = half_width / 3**0.5
    rule = get_rule("weight-mirror")
    noise = {
        str(l): (whitened(seed, l, 128, n, deviation) / half_width + 1) / 2
        for l, n in ((2, 12), (3, 7))
    }
    mirror = upper_weights(params)
    memory = rule.update(net, params, State({}, mirror), batch, noise).memory
    factor = 1 - decay + rate * deviation**2
    assert abs(factor - 1) <= 1e-4
    assert worst(memory, {name: factor * w for name, w in mirror.items()}) <= EXACT
