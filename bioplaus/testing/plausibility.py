"""The declared plausibility, tried: weight transport, and the need of the derivative f'."""

from __future__ import annotations

from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.profile_measurements import (
    DerivativeUse,
    derivative_use,
    weight_transport,
)
from bioplaus.learning.profile_measurements import WeightTransport as Shown
from bioplaus.learning.profile_networks import ROUNDING, WIDE, setting
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.cases import Case
from bioplaus.testing.check import check
from bioplaus.testing.failures import Skip, require

VISIBLE = 1e-6
SEEDS = range(10)


def wide_network(rule: Rule) -> Network:
    """Where a rule's profile can be measured; Skip where it cannot."""
    if rule.relaxes or not isinstance(rule, LayeredRule):
        raise Skip(
            "declared, not measured: the measurement needs a rule whose updates start from one "
            "forward pass, which a LayeredRule promises and a LearningRule does not"
        )
    reasons = [rule.supports(net) for net in WIDE]
    if None not in reasons:
        raise Skip(f"it supports none of the networks to measure on: {reasons[0]}")
    return WIDE[reasons.index(None)]


@check("plausibility", "Weight transport and the need of f' are as declared.", "configuration")
def plausibility(case: Case) -> str:
    rule = case.rule
    net = wide_network(rule)
    declared = rule.plausibility
    for seed in SEEDS:
        at = setting(rule, net, seed)
        judge_transport(declared.weight_transport, weight_transport(rule, at, Stream(seed)))
        judge_derivative(declared.needs_derivative, derivative_use(rule, at))
    return f"weight transport: {declared.weight_transport}; f': {declared.needs_derivative}"


def judge_transport(declared: str, shown: Shown) -> None:
    """Failure where weights are felt on the way back that should not be, or the reverse."""
    honest = "declare in `plausibility` what the error's way back really knows of the weights"
    if declared == "none":
        require(
            shown.signs_flipped <= ROUNDING,
            f"declared weight_transport='none', but updates below a layer move by "
            f"{shown.signs_flipped:.1e} of their norm when its forward weights alone change",
            f"{honest}, or carry errors by weights of their own (state.aux or state.memory)",
        )
    else:
        require(
            shown.signs_flipped > VISIBLE,
            f"declared weight_transport={declared!r}, but no update below a layer moves when "
            "its forward weights change: it is 'none'",
            honest,
        )
    if declared in ("none", "sign"):
        require(
            shown.signs_kept <= ROUNDING,
            f"declared weight_transport={declared!r}, but updates below a layer move by "
            f"{shown.signs_kept:.1e} of their norm when its weights change and keep their signs",
            honest,
        )
    else:
        require(
            shown.signs_kept > VISIBLE,
            f"declared weight_transport={declared!r}, but updates below a layer feel only the "
            "signs of its weights: it is 'sign'",
            honest,
        )


def judge_derivative(declared: str, shown: DerivativeUse) -> None:
    """Failure where f' is felt that should not be, or the reverse."""
    hint = "declare in `plausibility` where f' is needed: 'no', 'local' (a neuron's own update "
    hint += "only) or 'transport' (on the error's way too)"
    told = f"declared needs_derivative={declared!r}, but "
    own = "a layer's own update moves when its f' is wrong"
    require(declared != "no" or shown.own <= ROUNDING, told + own, hint)
    require(declared == "no" or shown.own > VISIBLE, told + "no update feels a wrong f'", hint)
    other = "the update of other layers moves when one's f' is wrong"
    require(declared == "transport" or shown.elsewhere <= ROUNDING, told + other, hint)
    none = "no other layer's update moves when one's f' is wrong"
    require(declared != "transport" or shown.elsewhere > VISIBLE, told + none, hint)


CHECKS = (plausibility,)
