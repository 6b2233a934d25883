"""Kolen-Pollack: the difference of the two weights shrinks by the decay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_seed, upper_weights
from tests.helpers.networks import (
    EXACT,
    get_rule,
    make_network,
    random_batch,
    random_params,
    run_rule,
)


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


def test_by_default_the_difference_is_gone_within_a_run_on_digits() -> None:
    """W - B^T is a linear recursion of the decay alone: cos(B, W^T) > .95 needs it small."""
    spec = get_rule("kolen-pollack").optimizer
    assert spec is not None
    assert spec.momentum
    assert spec.weight_decay
    left, velocity = 1.0, 0.0
    for _ in range(2000):
        velocity = spec.momentum * velocity + spec.weight_decay * left
        left -= spec.lr * velocity
    assert 0 < left < 0.05


@every_seed
@pytest.mark.parametrize("name", ["kolen-pollack", "weight-mirror"])
def test_the_alignment_of_the_feedback_is_recorded(name: str, seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    drawn = get_rule(name).init_state(net, params, Stream(seed))
    feedback = drawn.aux or drawn.memory
    cosines = [
        torch.nn.functional.cosine_similarity(b.flatten(), params[k].flatten(), 0)
        for k, b in feedback.items()
    ]
    found = run_rule(name, net, params, batch, state=drawn).metrics["feedback_alignment"]
    torch.testing.assert_close(found, min(cosines), rtol=1e-12, atol=1e-14)
