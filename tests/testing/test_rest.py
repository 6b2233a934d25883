"""Every relaxing rule says how far from rest it stops, and `bioplaus check` passes it on."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import Update
from bioplaus.plugins import registry
from bioplaus.testing import NETWORKS, Failure
from bioplaus.testing.cases import Case
from bioplaus.testing.rest import rest
from tests.helpers.networks import get_rule

RELAXING = [
    "activation-relaxation",
    "dendritic-microcircuit",
    "equilibrium-propagation",
    "incremental-predictive-coding",
    "predictive-coding",
    "predictive-coding-fixed",
    "relaxed-predictive-coding",
]


def case(name: str, **options: object) -> Case:
    rule = get_rule(name, **options)
    network, net = next((k, n) for k, n in NETWORKS.items() if rule.supports(n) is None)
    return Case(type(rule), network, net, dict(options))


def test_the_relaxing_rules_are_those() -> None:
    declared = {n for n in registry.names("rule") if registry.load("rule", n).relaxes}
    assert declared <= set(RELAXING)


@pytest.mark.parametrize("name", RELAXING)
def test_a_relaxing_rule_records_a_residual_that_more_steps_shrink(name: str) -> None:
    steps = {"equilibrium-propagation": "free_steps", "dendritic-microcircuit": "sweeps"}.get(
        name, "steps"
    )
    few, many = (
        float(c.update(c.inputs(0)).metrics["residual"])
        for c in (case(name, **{steps: 3}), case(name, **{steps: 60}))
    )
    assert 0 <= few <= 1.5
    assert many < few or few < 1e-12


def test_a_warning_says_that_it_stopped_far_from_rest() -> None:
    assert rest.on(case("predictive-coding", steps=1)).startswith("warning: far from rest")
    assert rest.on(case("predictive-coding", steps=300, step_size=0.3)).startswith("residual")


def test_a_rule_without_relaxation_has_nothing_to_say() -> None:
    assert rest.on(case("backprop")) == "nothing relaxes"


@pytest.mark.parametrize(
    ("metrics", "why"),
    [({}, "no metric `residual`"), ({"residual": torch.tensor(1e3)}, "not relative")],
)
def test_a_residual_is_due_and_relative(
    monkeypatch: pytest.MonkeyPatch, metrics: dict[str, torch.Tensor], why: str
) -> None:
    mine = case("predictive-coding")
    plain = mine.update(mine.inputs(0))

    def update(*_: object) -> Update:
        return plain._replace(metrics=metrics)

    monkeypatch.setattr(mine.cls, "update", update)
    with pytest.raises(Failure, match=why):
        rest.on(mine)
