"""How far two devices may be apart knows what a rule amplifies by design."""

from __future__ import annotations

import pytest

from bioplaus.plugins import registry
from bioplaus.testing.numbers import DEVICES, device_tolerance
from tests.helpers.networks import get_rule, make_network


def test_the_finite_form_amplifies_by_a_power_of_its_step() -> None:
    net = make_network((6, 6, 6, 6), "leaky_relu(0.1)", "mse")
    finite = get_rule("gaitprop", form="finite", gamma=1e-2).amplification(net)
    assert finite == pytest.approx(1e4)  # two layers above the first, each by 1 / gamma
    assert get_rule("consequentialism", base="gaitprop").amplification(net) == 1.0
    assert device_tolerance(finite) == DEVICES  # 1e4 roundings of 2e-16 stay below
    assert device_tolerance(1e9) == pytest.approx(2.2e-6, rel=0.01)


def test_all_others_are_held_to_the_strict_one() -> None:
    net = make_network((6, 6, 6, 6), "sigmoid", "mse")
    for name in registry.names("rule"):
        assert device_tolerance(get_rule(name).amplification(net)) == DEVICES
