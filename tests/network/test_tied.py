"""Nodes that share weights: recurrent cells unrolled in time, exact against autograd."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.learning.alignment import by_layer
from bioplaus.learning.batching import stack
from bioplaus.learning.rule import State
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.tasks.network_spec import NetworkSpec
from bioplaus.testing.cases import Case
from bioplaus.testing.contract import purity, reach, shapes, vmap
from tests.helpers.graphs import (
    TIED,
    evaluate,
    graph_grads,
    graph_params,
    named,
    network,
    node,
    rnn,
)
from tests.helpers.networks import every_seed, get_rule, random_batch, rel, run_rule, worst

every_net = pytest.mark.parametrize("name", TIED)

EXACT_RULES: dict[str, dict[str, object]] = {
    "backprop": {},
    "z-il": {},
    "predictive-coding-fixed": {"step_size": 1.0},
    "activation-relaxation": {"step_size": 1.0},
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@every_net
@pytest.mark.parametrize("rule", EXACT_RULES)
def test_t_dag_2_shared_weights_learn_the_sum(rule: str, name: str, loss: str, seed: int) -> None:
    net = network(name, loss)
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    relaxes = {"steps": net.depth - 1} if EXACT_RULES[rule] else {}
    found = run_rule(rule, net, params, batch, **EXACT_RULES[rule], **relaxes).grads
    assert worst(found, graph_grads(TIED[name][0], params, batch, loss)) <= 1e-12


@every_seed
@every_net
def test_t_dag_1_the_chain_gives_what_the_graph_gives(name: str, seed: int) -> None:
    net = network(name)
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    due = evaluate(TIED[name][0], params, batch.x)["o"]
    assert rel(net.output(params, batch.x), due) <= 1e-13


@every_seed
@every_net
def test_feedback_alignment_has_one_feedback_weight_for_a_cell(name: str, seed: int) -> None:
    net = network(name)
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    drawn = get_rule("feedback-alignment").init_state(net, params, Stream(seed)).memory
    weights = {name for name in params if name.endswith("weight")}
    assert set(drawn) == weights
    mirrored = State({}, {name: params[name] for name in drawn})
    found = run_rule("feedback-alignment", net, params, batch, state=mirrored).grads
    assert worst(found, graph_grads(TIED[name][0], params, batch, "cross_entropy")) <= 1e-12


def test_one_cell_by_hand() -> None:
    """h2 = W k2, h3 = W k3: gW = d3 k3^T + d2 k2^T, d2 = B d3 on what k3 reads of h2."""
    net, tables = network("rnn"), rnn()
    params, batch = graph_params(net, 0), random_batch(net, 6, 0)
    numbers = {table["name"]: number for number, table in enumerate(tables, 1)}
    w, o = numbers["h2"], numbers["o"]
    assert net.leaders[numbers["h4"] - 1] == net.leaders[numbers["h3"] - 1] == w - 1
    feedback = get_rule("feedback-alignment").init_state(net, params, Stream(0)).memory
    grads = run_rule("feedback-alignment", net, params, batch, state=State({}, feedback)).grads
    h = evaluate(tables, params, batch.x)
    error = torch.softmax(h["o"], 1) - batch.y
    e, total = error @ feedback[f"{o}.weight"], torch.zeros(())
    for t in (4, 3, 2):
        d = (1 - h[f"h{t}"].square()) * e
        total = total + d.T @ h[f"k{t}"] / 6
        e = (d @ feedback[f"{w}.weight"])[:, 3:]
    assert rel(grads[f"{w}.weight"], total) <= 1e-13
    d = (1 - h["h1"].square()) * e
    assert rel(grads[f"{numbers['h1']}.weight"], d.T @ h["x1"] / 6) <= 1e-13


def test_kolen_pollacks_weights_still_meet() -> None:
    """One SGD step of both with decay takes W - B to (1 - lr decay) (W - B)."""
    net = network("lstm")
    params, batch = graph_params(net, 0), random_batch(net, 6, 0)
    rule = get_rule("kolen-pollack")
    state = rule.init_state(net, params, Stream(0))
    update = run_rule("kolen-pollack", net, params, batch, state=state)
    for name, feedback in state.aux.items():
        before = params[name] - feedback
        after = params[name] - 0.1 * (update.grads[name] + 0.01 * params[name])
        after = after - (feedback - 0.1 * (update.aux_grads[name] + 0.01 * feedback))
        assert rel(after, (1 - 0.001) * before) <= 1e-13


def test_the_loss_of_the_chain_has_the_gradient_of_the_graph() -> None:
    net = network("lstm")
    params, batch = graph_params(net, 1), random_batch(net, 6, 1)
    update = run_rule("backprop", net, params, batch).grads
    layers = [l for l, *_ in by_layer(net, stack([update]), stack([update]))]
    assert len(layers) == len(set(layers)) == 3 + 4 + 1  # the first step's, the cell's, the readout


TRAINING = {
    "activation-relaxation", "backprop", "feedback-alignment", "kolen-pollack",
    "predictive-coding", "predictive-coding-fixed", "relaxed-predictive-coding", "sign-symmetry",
    "weight-mirror", "weight-perturbation", "z-il",
}  # fmt: skip
"""At the least."""


@pytest.mark.parametrize("rule", registry.names("rule"))
def test_every_rule_trains_shared_weights_or_says_why_not(rule: str) -> None:
    loaded, net = registry.load("rule", rule), network("rnn")
    reason = loaded.configured().supports(net)
    assert reason is None or rule not in TRAINING, reason
    assert reason != ""
    if reason is None:
        for check in (shapes, reach, purity, vmap):
            check.on(Case(loaded, "rnn", net))


def test_a_tied_node_is_what_its_leader_is() -> None:
    tables = [
        node("flatten", "f", "x"),
        {"name": "a", "units": 6, "activation": "tanh", "bias": False},
        {"name": "b", "tie": "a", "activation": "sigmoid"},
        {"name": "o", "units": 3},
    ]
    spec = NetworkSpec.model_validate({"nodes": tables})
    (dump,) = [n for n in spec.model_dump(exclude_none=True)["nodes"] if "tie" in n]
    assert dump == {
        "name": "b", "inputs": ("a",), "tie": "a", "type": "dense", "units": 6,
        "activation": "sigmoid", "bias": False,
    }  # fmt: skip
    net = spec.build((6,), get_loss("mse"), 3)
    assert net.leaders == (0, 1, 1, 3) and list(net.init(Stream(0))) == [
        "2.weight", "4.weight", "4.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ({"tie": "c", "units": 6}, "node b is tied to c, no node before it; there are: a, f"),
        ({"tie": "b", "units": 6}, "node b is tied to b, no node before it"),
        ({"tie": "f"}, r"node b \(flatten\): it is tied to f, which has no weights"),
        ({"tie": "a", "units": 5}, r"node b \(dense\): it is tied to a, and is not alike: that re"),
        ({"tie": "a", "bias": False}, "type, settings and bias must be the same"),
        ({"tie": "a", "input": "x", "type": "conv2d"}, "units: there is no such field|kernel"),
    ],
)
def test_wrong_ties_are_named(b: dict[str, object], message: str) -> None:
    tables = [
        node("flatten", "f", "x"), {"name": "a", "units": 6}, {"name": "b"} | b,
        node("concat", "k", "a", "b", "f"), {"name": "o", "units": 3},
    ]  # fmt: skip
    with pytest.raises((ConfigError, ValueError), match=message):
        named(tables, (6,))


def test_a_chain_of_ties_and_a_leader_without_feedback_are_refused() -> None:
    row = [{"name": n, "units": 6} for n in "abc"] + [{"name": "o", "units": 3}]
    first = [*row[:1], row[1] | {"tie": "a"}, *row[2:]]
    with pytest.raises(ConfigError, match="layer 2 shares the weights of layer 1, which has no"):
        named(first, (6,))
    chained = [node("flatten", "f", "x"), *first[:2], row[2] | {"tie": "b"}, row[3]]
    with pytest.raises(ConfigError, match="node c is tied to b, which is tied itself: write tie ="):
        named(chained, (6,))


def test_a_networks_leaders_must_lead() -> None:
    layers = (Dense(4, 4),) * 4
    for leaders in ((0, 1), (0, 2, 2, 3), (0, 1, 1, 2)):
        with pytest.raises(ConfigError, match=r"cannot follow|leaders for 4 layers"):
            Network(layers, get_loss("mse"), 4, leaders=leaders)
