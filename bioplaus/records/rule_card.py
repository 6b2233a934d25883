"""Facts on a rule for boards: what it declares, and what of that was measured."""

from __future__ import annotations

from functools import lru_cache

import torch

from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.profile_measurements import derivative_use, weight_transport
from bioplaus.learning.profile_networks import ROUNDING, WIDE, setting
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.records.schema import RuleCard
from bioplaus.system.blame import blaming


def rule_card(rule: Rule) -> RuleCard:
    """The card of a rule as configured; PluginError where it raises on the way."""
    name = rule.name
    summary = registry.find("rule", name).summary() if name in registry.names("rule") else ""
    with blaming(f"the rule {name!r} cannot describe itself", rule):
        return RuleCard(
            summary=summary,
            citation=rule.citation.model_dump(mode="json"),
            plausibility=rule.plausibility.model_dump(mode="json"),
            tested=dict(_tested(type(rule), rule.config.model_dump_json())),
            published=list(rule.published),
        )


@lru_cache(maxsize=256)
def _tested(cls: type[Rule], options: str) -> tuple[tuple[str, object], ...]:
    rule = cls(cls.Config.model_validate_json(options))
    try:
        return tuple(tested(rule).items())
    except Exception:  # a stranger's rule may fail on networks that it was not asked to train
        return ()


def tested(rule: Rule) -> dict[str, object]:
    """The profile's properties that can be measured, as measured: `weight_transport` and
    `needs_derivative`, with the values that `Plausibility` has for them.

    But for one: where more than the signs matters, the transport is `exact`. Transpose and
    inverse are not told apart. {} for a rule whose activities relax, where what is
    changed would be felt by the forward pass too, and for one that suits none of the
    networks here.
    """
    if rule.relaxes or not isinstance(rule, LayeredRule):
        return {}
    net = next((net for net in WIDE if rule.supports(net) is None), None)
    if net is None:
        return {}
    with torch.no_grad():
        at = setting(rule, net, seed=0)
        transport = weight_transport(rule, at, Stream(0).at("profile"))
        slope = derivative_use(rule, at)
    return {
        "weight_transport": _strongest(
            "none", sign=transport.signs_flipped, exact=transport.signs_kept
        ),
        "needs_derivative": _strongest("no", local=slope.own, transport=slope.elsewhere),
    }


def _strongest(nothing: str, **changes: float) -> str:
    """The last name whose change is more than rounding."""
    felt = [name for name, change in changes.items() if change > ROUNDING]
    return felt[-1] if felt else nothing
