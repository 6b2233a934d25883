"""Cards: what a rule declares, and what was measured."""

from __future__ import annotations

from bioplaus.plugins import registry
from bioplaus.records.rule_card import rule_card


def test_a_card_says_what_was_measured() -> None:
    declared = {
        "backprop": ("exact", "transport"),
        "feedback-alignment": ("none", "transport"),
        "sign-symmetry": ("sign", "transport"),
        "burstccn": ("none", "no"),
        "targetprop": ("none", "local"),
    }
    for name, (way, need) in declared.items():
        card = rule_card(registry.load("rule", name).configured())
        assert card.tested == {"weight_transport": way, "needs_derivative": need}
        assert card.summary and card.citation["year"]
    relaxing = rule_card(registry.load("rule", "predictive-coding").configured())
    assert relaxing.tested == {}, "its activities relax: declared only"
    assert 0.9 < rule_card(registry.load("rule", "backprop").configured()).published[0].value < 1
