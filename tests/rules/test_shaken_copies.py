"""Rules that shake units refuse graphs: a carried value is a copy, not a potential."""

from __future__ import annotations

import pytest

from bioplaus.api import get_rule, list_rules
from bioplaus.network.network import Network
from bioplaus.tasks.task import read_task

SHAKE = {
    "node-perturbation": "noise on its units would shake these too",
    "deep-feedback-control": "the controller would push these too",
    "ddtp": "noise on its output would shake these too",
}


@pytest.fixture(scope="module")
def graph() -> Network:
    return read_task("digits-dag").build_network()


@pytest.mark.parametrize("name", SHAKE)
def test_rules_that_shake_units_refuse_graphs_and_say_why(name: str, graph: Network) -> None:
    reason = get_rule(name).supports(graph)
    assert reason is not None and SHAKE[name] in reason
    assert get_rule(name).supports(read_task("digits-mlp").build_network()) is None


def test_no_rule_that_trains_graphs_shakes_carried_values(graph: Network) -> None:
    """Noise over all that a wire gives out has its shape, carried values included."""
    carried = {str(l): layer.out_shape for l, layer in enumerate(graph.layers, 1) if layer.branches}
    for name in list_rules():
        rule = get_rule(name)
        if rule.supports(graph) is None:
            drawn = {at: spec.shape[1:] for at, spec in rule.noise(graph, 4).items()}
            # the weight mirror's is what each layer reads in a phase of its own, apart
            assert name == "weight-mirror" or not drawn.items() & carried.items(), name
