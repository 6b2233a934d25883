"""Profiles are measured where they can be: weight transport, and the need of f'.

Every registered layered rule, under any two choices of its options, both ways: who declares
a dependence must show it, who declares none must be free of it to rounding. Its defaults and single
choices are the kit's (`bioplaus.testing.plausibility`), which tries every rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.profile_measurements import (
    derivative_use,
    misjudged,
    unseen_direction,
    weight_transport,
)
from bioplaus.learning.profile_networks import ROUNDING, WIDE, setting
from bioplaus.learning.rule import RuleConfig
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.testing.failures import Skip
from bioplaus.testing.plausibility import (
    VISIBLE,
    judge_derivative,
    judge_transport,
    wide_network,
)
from tests.helpers.networks import SEEDS, get_rule

Options = dict[str, object]


def choices(config: type[RuleConfig]) -> dict[str, tuple[object, ...]]:
    """The options with a few values, and those that are not the default."""
    found = {}
    for name, field in config.model_fields.items():
        kind = field.annotation
        values = get_args(kind) if get_origin(kind) is Literal else (False, True)
        if kind is bool or get_origin(kind) is Literal:
            found[name] = tuple(value for value in values if value != field.default)
    return found


def variants(name: str) -> Iterator[Options]:
    """Every configuration of a layered rule that differs from its defaults in two choices."""
    rule = registry.load("rule", name)
    open_to = choices(rule.Config) if issubclass(rule, LayeredRule) and not rule.relaxes else {}
    for fields in combinations(open_to, 2):
        for values in product(*(open_to[field] for field in fields)):
            options = dict(zip(fields, values, strict=True))
            try:
                rule.configured(options)
            except ConfigError:
                continue
            yield options


CASES = [
    pytest.param(name, options, id=" ".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name in registry.names("rule")
    for options in variants(name)
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_is_declared_is_what_shows(name: str, options: Options) -> None:
    rule = get_rule(name, **options)
    try:
        net = wide_network(rule)
    except Skip as reason:
        pytest.skip(str(reason))
    declared = rule.plausibility
    for seed in SEEDS:
        at = setting(rule, net, seed)
        judge_transport(declared.weight_transport, weight_transport(rule, at, Stream(seed)))
        judge_derivative(declared.needs_derivative, derivative_use(rule, at))


def test_rules_with_two_choices_are_there() -> None:
    assert {"gaitprop", "targetprop"} <= {case.values[0] for case in CASES}


class Handmade(LayeredRule[RuleConfig]):
    """e_{l-1} = B_l^T (D_l' e_l), d_l = D_l'' e_l with any B of W, D', D'' of D."""

    name = "handmade"
    citation = Citation(authors="", title="", year=0)

    def __init__(
        self,
        feedback: Callable[[Tensor], Tensor],
        travels: Callable[[Tensor], Tensor] = torch.ones_like,
        own: Callable[[Tensor], Tensor] = torch.ones_like,
    ) -> None:
        super().__init__(RuleConfig())
        self.feedback, self.travels, self.own = feedback, travels, own

    @property
    def plausibility(self) -> Plausibility:
        raise NotImplementedError

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        deltas, error = [], fwd.error
        for l in reversed(range(fwd.net.depth)):
            slope = fwd.trace[l].slope
            deltas.append(self.own(slope) * error)
            error = (self.travels(slope) * error) @ self.feedback(fwd.params[f"{l + 1}.weight"])
        return deltas[::-1]


def same(x: Tensor) -> Tensor:
    return x


FEEDBACK: dict[str, tuple[Callable[[Tensor], Tensor], bool, bool]] = {
    "fixed": (torch.ones_like, False, False),
    "sign": (torch.sign, True, False),
    "transpose": (same, True, True),
    "inverse": (lambda w: torch.linalg.inv(w).T, True, True),
}
SLOPES = {
    "no": (torch.ones_like, torch.ones_like, False, False),
    "local": (torch.ones_like, same, True, False),
    "transport": (same, same, True, True),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", FEEDBACK)
def test_handmade_feedback_is_seen_for_what_it_is(kind: str, seed: int) -> None:
    feedback, flipped, kept = FEEDBACK[kind]
    rule = Handmade(feedback)
    shown = weight_transport(rule, setting(rule, WIDE[0], seed), Stream(seed))
    assert shown.signs_flipped > VISIBLE if flipped else shown.signs_flipped <= ROUNDING
    assert shown.signs_kept > VISIBLE if kept else shown.signs_kept <= ROUNDING


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", SLOPES)
def test_handmade_use_of_slopes_is_seen_for_what_it_is(kind: str, seed: int) -> None:
    travels, own, needs_own, needs_travels = SLOPES[kind]
    rule = Handmade(torch.ones_like, travels, own)
    shown = derivative_use(rule, setting(rule, WIDE[1], seed))
    assert shown.own > VISIBLE if needs_own else shown.own <= ROUNDING
    assert shown.elsewhere > VISIBLE if needs_travels else shown.elsewhere <= ROUNDING


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unseen_direction_moves_the_weights_and_not_their_answers(seed: int) -> None:
    stream = Stream(seed)
    weight, inputs = stream.at("w").normal((7, 12)), stream.at("h").normal((5, 12))
    direction = unseen_direction(weight, inputs, stream.at("direction"))
    moved = weight + weight.norm() / direction.norm() * direction
    assert (inputs @ (moved - weight).T).norm() <= 1e-13 * (inputs @ weight.T).norm()
    assert (moved.sign() != weight.sign()).any()
    with pytest.raises(ValueError, match="12 examples leave no direction free in 12 inputs"):
        unseen_direction(weight, stream.at("h").normal((12, 12)), stream)


@pytest.mark.parametrize("net", WIDE, ids=["leaky", "tanh", "sigmoid", "relu"])
def test_a_misjudged_layer_answers_as_before(net: Network) -> None:
    a = Stream(0).at("a").normal((5, net.layers[0].out_shape[0]))
    right, wrong = net.layers[0].activation, misjudged(net.layers[0]).activation
    assert torch.equal(wrong(a), right(a))
    assert wrong.invertible == right.invertible
    if right.invertible:
        assert torch.equal(wrong.inverse(right(a)), right.inverse(right(a)))
    # a slope of 0 stays 0: there the unit is silent either way
    live = right.slope_at(a) != 0
    assert ((wrong.slope_at(a) - right.slope_at(a))[live] != 0).all()
