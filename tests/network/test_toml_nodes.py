"""Graphs in task files: read, refused with the node's name, trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bioplaus.cli import main
from bioplaus.errors import BioplausError
from bioplaus.network.wire import Wire
from bioplaus.numerics.random_streams import Stream
from bioplaus.records.store import Store
from bioplaus.tasks.task import Task, read_task

HEAD = """
name = "graph"
dataset = "digits"
loss = "cross_entropy"
batch_size = 50
epochs = 4

[optimizer]
name = "adam"
lr = 3e-3

[network]
"""
NODES = """
nodes = [
    { name = "a", units = 24, activation = "tanh" },
    { name = "b", type = "dense", units = 24, activation = "tanh", input = "a" },
    { name = "s", type = "add", inputs = ["a", "b"], activation = "leaky_relu( 0.1 )" },
    { name = "k", type = "concat", inputs = ["s", "x"] },
    { name = "o", units = 10 },
]
"""


def write(tmp_path: Path, network: str = NODES, top: str = "") -> str:
    path = tmp_path / "graph.toml"
    path.write_text(f"{top}{HEAD}{network}")
    return str(path)


def test_a_graph_is_read_and_written_again(tmp_path: Path) -> None:
    task = read_task(write(tmp_path))
    assert Task.model_validate(task.model_dump()) == task
    assert Task.model_validate_json(task.model_dump_json()) == task
    network = task.content()["network"]
    assert isinstance(network, dict) and "layers" not in network
    dense = {"type": "dense", "bias": True}
    assert network["nodes"] == [
        {"name": "a", "inputs": ["x"], "units": 24, "activation": "tanh"} | dense,
        {"name": "b", "inputs": ["a"], "units": 24, "activation": "tanh"} | dense,
        {"name": "s", "inputs": ["a", "b"], "type": "add", "activation": "leaky_relu(0.1)"},
        {"name": "k", "inputs": ["s", "x"], "type": "concat", "activation": "identity"},
        {"name": "o", "inputs": ["k"], "units": 10, "activation": "identity"} | dense,
    ]
    layers = task.build_network().layers
    assert [layer.in_shape for layer in layers] == [(64,), (88,), (112,), (88,), (88,)]


def test_the_graphs_of_one_meaning_are_one_content(tmp_path: Path) -> None:
    spelled_out = NODES.replace("24,", '24, type = "dense",', 1).replace(
        '{ name = "o", units = 10 }', '{ name = "o", units = 10, inputs = ["k"], bias = true }'
    )
    assert spelled_out.count("k") > NODES.count("k")
    first, second = (read_task(write(tmp_path, text)) for text in (NODES, spelled_out))
    assert first.content() == second.content()


def test_it_trains_from_the_command_line(tmp_path: Path) -> None:
    call = ["run", "--rule", "backprop", "--task", write(tmp_path), "--seeds", "1"]
    done = CliRunner().invoke(main, [*call, "--results", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    for record in Store(tmp_path / "r").read_all().records:
        assert record.test_accuracy is not None and record.test_accuracy > 0.85
        cosines = [c for k, c in record.curves.alignment["loss"].items() if "cosine" in k]
        measured = [c for layer in cosines for c in layer if c is not None]
        assert len(measured) >= 3 * 4 and min(measured) > 0.9999  # three layers have weights


def test_images_reach_the_first_node_as_it_reads_them(tmp_path: Path) -> None:
    images = """
    nodes = [
        { name = "c", type = "conv2d", channels = 2, kernel = 3, padding = 1, activation = "tanh" },
        { name = "k", type = "concat", inputs = ["c", "x"] },
        { name = "row", type = "slice", start = 1, stop = 3 },
        { name = "p", type = "avg_pool2d", kernel = 2 },
        { name = "f", type = "flatten" },
        { name = "o", units = 10 },
    ]
    """
    net = read_task(write(tmp_path, images)).build_network()
    assert net.in_shape == (1, 8, 8) and isinstance(net.layers[0], Wire)
    trace = net.forward(net.init(Stream(0)), torch.randn(3, 1, 8, 8, dtype=torch.float64))
    assert [tuple(step.output.shape[1:]) for step in trace][1:4] == [
        (3, 8, 8),
        (2, 8, 8),
        (2, 4, 4),
    ]


A, B, S, O = (
    line.strip() for line in NODES.splitlines() if 'name = "k"' not in line and "name" in line
)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (f"{A} {S} {O}", "task .*graph.toml: node s reads b, and no node has that name"),
        ('{ name = "hidden", units = 9 }, { name = "o", units = 10, input = "hiden" }',
         "node o reads hiden, and no node has that name; did you mean hidden"),
        (f"{A} {S} {B} {O}", "node s reads b, which comes after it: nodes stand in the order"),
        ('{ name = "a", units = 9, input = "b" }, { name = "b", units = 9, input = "c" }, '
         '{ name = "c", units = 10, input = "a" }',
         "node a reads b, which reads a in turn: a graph has no circles"),
        ('{ name = "a", units = 10, input = "a" }', "node a reads itself"),
        (f"{A} {A} {O}", "two nodes are called a: rename one"),
        ('{ name = "x", units = 10 }', "a node is called x, which is the network's input"),
        (f'{A} {B} {{ name = "o", units = 10, input = "x" }}',
         "no node reads b, and it is not the last"),
        (f"{A} {B.replace('24', '9')} {S} {O}",
         r"node s \(add\): its inputs have the shapes \(24,\) and \(9,\): .* added have one shape"),
        (f"{A} {B.replace('24', '9')} {S.replace('add', 'multiply')} {O}",
         r"node s \(multiply\): .* multiplied have one shape"),
        (f"{A} {B} {S.replace('add', 'dense').replace('activation', 'units = 3, activation')} {O}",
         r"node s \(dense\): it reads one input, not 2: concat or add them before it"),
        (f"{A} {B} {S.replace('add', 'slice').replace('activation', 'start = 0, stop = 3, bias')}"
         .replace("bias", "activation"),
         r"node s \(slice\): it reads one input, not 2"),
        (f'{A} {{ name = "m", type = "multiply", input = "a" }} {O}'.replace("} {", "}, {"),
         r"node m \(multiply\): it multiplies two inputs, not 1"),
        (f'{A} {{ name = "m", type = "slice", start = 20, stop = 25 }}, {O}',
         r"node m \(slice\): start 20 and stop 25 are no part .* <= 24"),
        ('{ name = "c", type = "conv2d", channels = 2, kernel = 3 }, '
         '{ name = "k", type = "concat", inputs = ["c", "x"] }, { name = "f", type = "flatten" }, '
         '{ name = "o", units = 10 }',
         r"node k \(concat\): its inputs have the shapes \(2, 6, 6\) and \(1, 8, 8\)"),
        ('{ name = "c", type = "conv2d", channels = 2, kernel = 3 }, { name = "o", units = 10 }',
         r"node o \(dense\): .*\(2, 6, 6\): put a flatten"),
        ('{ name = "a", units = 9, input = "x", inputs = ["x"] }', 'both "input" and "inputs"'),
        ('{ units = 10 }', "nodes.0.name: it is missing"),
        ('{ name = "a", units = 10, inputs = [] }', "inputs: .*at least 1"),
        ('{ name = "a", unit = 10 }', "unit: there is no such field; did you mean units"),
        ('{ name = "a", type = "sum", inputs = ["x"] }', "unknown layer type 'sum'"),
        ('{ name = "a", type = "activation" }', "activation: it is missing"),
        ('{ name = "a", type = "residual", layers = [] }',
         "is its layers, and an add of both its ends"),
        ('{ name = "a", units = 10, activation = "tahn" }', "did you mean tanh"),
        ("3", "nodes.0"),
        ("", "nodes: .*at least 1 item"),
    ],
)  # fmt: skip
def test_a_wrong_graph_says_which_node(tmp_path: Path, nodes: str, message: str) -> None:
    with pytest.raises(BioplausError, match=message):
        read_task(write(tmp_path, f"nodes = [{nodes}]")).build_network()


@pytest.mark.parametrize("network", [f"{NODES}layers = [{{ units = 10 }}]", 'init = "orthogonal"'])
def test_a_network_is_a_row_or_a_graph(tmp_path: Path, network: str) -> None:
    with pytest.raises(BioplausError, match=r"either layers = .*, or nodes = "):
        read_task(write(tmp_path, network))


def test_a_graph_has_no_depth_or_width_to_sweep(tmp_path: Path) -> None:
    with pytest.raises(BioplausError, match="task graph: depth, width and activation vary a row"):
        read_task(write(tmp_path, top="width = 30\n")).build_network()


def test_digits_dag_is_a_graph_of_seven_nodes() -> None:
    task = read_task("digits-dag")
    net = task.build_network()
    assert net.depth == 7 and sum(layer.multiply_adds() > 0 for layer in net.layers) == 4
    assert (task.epochs, task.optimizer.name, task.optimizer.lr) == (20, "adam", 1e-3)


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (NODES + "steps = 5", "a graph has no time: leave out steps"),
        (
            NODES.replace("units = 10", "units = 10, neuron = { decay = 0.5 }"),
            "for networks in time",
        ),
    ],
)
def test_a_graph_has_no_time(network: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(BioplausError, match=what):
        read_task(write(tmp_path, network)).build_network()
