"""Graphs compiled to chains: the graph's own numbers, and every exact rule stays exact.

Oracle: autograd through the graph by the names of its nodes, not through the chain.
"""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.network.combining import Add, Concat, Multiply, Slice
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Init, Layer
from bioplaus.network.wire import Wire
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.testing.cases import Case
from bioplaus.testing.contract import purity, reach, shapes, vmap
from tests.helpers.graphs import GRAPHS, evaluate, graph_grads, graph_params, named, network
from tests.helpers.networks import every_seed, get_rule, random_batch, rel, run_rule, worst

every_graph = pytest.mark.parametrize("name", GRAPHS)
every_loss = pytest.mark.parametrize("loss", ["mse", "cross_entropy"])


@every_seed
@every_graph
def test_t_dag_1_the_chain_gives_what_the_graph_gives(name: str, seed: int) -> None:
    net, tables = network(name), GRAPHS[name][0]
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    due = evaluate(tables, params, batch.x)
    trace = net.forward(params, batch.x)
    for table, step in zip(tables, trace, strict=True):
        own = due[table["name"]]
        assert rel(step.output[:, -own.shape[1] :], own) <= 1e-13
    assert rel(net.output(params, batch.x), due["o"]) <= 1e-13


EXACT_RULES: dict[str, dict[str, object]] = {
    "backprop": {},
    "z-il": {},
    "predictive-coding-fixed": {"step_size": 1.0},
    "activation-relaxation": {"step_size": 1.0},
}


@every_seed
@every_loss
@every_graph
@pytest.mark.parametrize("rule", EXACT_RULES)
def test_t_dag_2_exact_rules_are_autograd(rule: str, name: str, loss: str, seed: int) -> None:
    net = network(name, loss)
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    relaxes = {"steps": net.depth - 1} if EXACT_RULES[rule] else {}
    found = run_rule(rule, net, params, batch, **EXACT_RULES[rule], **relaxes).grads
    assert worst(found, graph_grads(GRAPHS[name][0], params, batch, loss)) <= 1e-12


@every_seed
@every_graph
def test_t_dag_2_feedback_alignment_with_the_forward_weights(name: str, seed: int) -> None:
    net = network(name)
    params, batch = graph_params(net, seed), random_batch(net, 6, seed)
    rule = get_rule("feedback-alignment")
    drawn = rule.init_state(net, params, Stream(seed)).memory
    mirrored = State({}, {name: params[name] for name in drawn})
    found = run_rule("feedback-alignment", net, params, batch, state=mirrored).grads
    assert worst(found, graph_grads(GRAPHS[name][0], params, batch, "cross_entropy")) <= 1e-12


def test_feedback_alignment_sends_no_error_through_transposes_it_does_not_have() -> None:
    """o reads (c, x), c reads (a + b, a), b reads a: e_a is the sum over its three readers."""
    net, tables = network("skip"), GRAPHS["skip"][0]
    params, batch = graph_params(net, 0), random_batch(net, 6, 0)
    rule = get_rule("feedback-alignment")
    feedback = rule.init_state(net, params, Stream(0)).memory
    assert sorted(feedback) == ["2.weight", "5.weight", "7.weight"]  # b, c and o
    found = run_rule("feedback-alignment", net, params, batch, state=State({}, feedback)).grads
    h = evaluate(tables, params, batch.x)
    d_o = torch.softmax(h["o"], 1) - batch.y
    d_c = (1 - h["c"].square()) * (d_o @ feedback["7.weight"])[:, :7]
    e_s, e_k = (d_c @ feedback["5.weight"]).split([8, 8], dim=1)
    d_b = (1 - h["b"].square()) * e_s
    d_a = (1 - h["a"].square()) * (e_s + e_k + d_b @ feedback["2.weight"])
    read = {1: (d_a, h["x"]), 2: (d_b, h["a"]), 5: (d_c, h["k"]), 7: (d_o, h["m"])}
    for number, (d, below) in read.items():
        assert rel(found[f"{number}.weight"], d.T @ below / 6) <= 1e-13
        assert rel(found[f"{number}.bias"], d.mean(0)) <= 1e-13


def test_nodes_in_a_row_are_the_layers_in_a_row() -> None:
    row = named(
        [
            {"name": "a", "units": 5, "activation": "tanh"},
            {"name": "b", "units": 4, "activation": "sigmoid"},
            {"name": "c", "units": 3},
        ],
        (2, 3),
    )
    assert [layer.kind for layer in row.layers] == ["dense"] * 3
    assert [layer.in_shape for layer in row.layers] == [(6,), (5,), (4,)]


IMAGE = (2, 5, 4)
PIECES: dict[str, Layer] = {
    "add": Add(IMAGE, 3),
    "alone": Add(IMAGE, 1),
    "multiply": Multiply(IMAGE),
    "concat": Concat((IMAGE, (3, 5, 4))),
    "slice": Slice(IMAGE, 1, 2),
    "wire": Wire(Conv2d(IMAGE, 3, 2), ((7,), IMAGE, (3,)), (1,), (0, 2)),
    "wire, kept and read": Wire(Conv2d(IMAGE, 3, 2), ((7,), IMAGE), (1,), (0, 1)),
    "wire of the input": Wire(Conv2d(IMAGE, 3, 2), (IMAGE,), (0,), (0,)),
    "wire, read twice": Wire(Multiply((4,)), ((3,), (4,)), (1, 1), (0,)),
    "wire, out of order": Wire(Dense(9, 5), ((3,), (4,), (2,)), (2, 0, 1), (1,)),
    "wire, unread left behind": Wire(Add((4,)), ((4,), (3,), (4,)), (0, 2), ()),
}


@pytest.mark.parametrize("name", PIECES)
def test_adjoints_and_weight_gradients_are_autograds(name: str) -> None:
    layer = PIECES[name]
    torch.manual_seed(0)
    h = torch.randn(6, *layer.in_shape, dtype=torch.float64, requires_grad=True)
    p = layer.init(Stream(0), Init("xavier_normal"))
    leaves = {key: value.requires_grad_() for key, value in p.items()}
    a, residuals = layer.forward(leaves, h)
    assert a.shape == (6, *layer.out_shape)
    d = torch.randn_like(a)
    due, *own = torch.autograd.grad(a, [h, *leaves.values()], d)
    with torch.no_grad():
        assert rel(layer.adjoint(leaves, residuals, d), due) <= 1e-14
        for found, gradient in zip(layer.weight_grad(residuals, d).values(), own, strict=True):
            assert rel(6 * found, gradient) <= 1e-14


def test_images_are_carried_past_convolutions() -> None:
    """A block of two convolutions, its skip pooled beside it, and channels side by side."""
    net = named(
        [
            {"name": "a", "type": "conv2d", "channels": 3, "kernel": 3, "padding": 1},
            {"name": "b", "type": "conv2d", "channels": 3, "kernel": 3, "padding": 1, "input": "a"},
            {"name": "s", "type": "add", "inputs": ["a", "b"], "activation": "tanh"},
            {"name": "k", "type": "concat", "inputs": ["s", "x"]},
            {"name": "p", "type": "max_pool2d", "kernel": 2},
            {"name": "f", "type": "flatten"},
            {"name": "o", "units": 4},
        ],
        (2, 6, 4),
    )
    params, batch = graph_params(net, 0), random_batch(net, 6, 0)
    w = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    conv = torch.nn.functional.conv2d
    a = conv(batch.x, w["1.weight"], w["1.bias"], padding=1)
    s = torch.tanh(a + conv(a, w["2.weight"], w["2.bias"], padding=1))
    pooled = torch.nn.functional.max_pool2d(torch.cat([s, batch.x], 1), 2)
    output = pooled.flatten(1) @ w["7.weight"].T + w["7.bias"]
    assert rel(net.output(params, batch.x), output.detach()) <= 1e-13
    grads = torch.autograd.grad(net.loss.value(output, batch.y), list(w.values()))
    for rule in ("backprop", "z-il"):
        found = run_rule(rule, net, params, batch).grads
        assert worst(found, dict(zip(w, grads, strict=True))) <= 1e-12


@pytest.mark.parametrize("rule", registry.names("rule"))
def test_every_rule_trains_graphs_or_says_why_not(rule: str) -> None:
    loaded = registry.load("rule", rule)
    reasons = {name: loaded.configured().supports(network(name)) for name in GRAPHS}
    assert rule not in TRAINING or set(reasons.values()) == {None}, reasons
    assert rule not in REFUSING or None not in reasons.values()
    assert "" not in reasons.values()
    for name, reason in reasons.items():
        if reason is None:
            case = Case(loaded, name, network(name))
            for check in (shapes, reach, purity, vmap) if name == "skip" else (reach, vmap):
                check.on(case)


TRAINING = {
    "activation-relaxation", "backprop", "direct-feedback-alignment", "feedback-alignment",
    "kolen-pollack", "predictive-coding", "predictive-coding-fixed", "relaxed-predictive-coding",
    "sign-symmetry", "weight-mirror", "z-il",
}  # fmt: skip
REFUSING = {
    "burstccn", "equilibrium-propagation", "forward-forward", "gaitprop", "itp", "targetprop",
    "targetprop-exact",
}  # fmt: skip
"""They invert layers, normalise activity, or have states or rates in a row of populations."""
