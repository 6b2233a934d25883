"""Layers of plugins in task files: used, keyed, listed, and where broken their own cells' loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import bioplaus
from bioplaus.benchmark.plan import expand
from bioplaus.benchmark.suite import Suite
from bioplaus.errors import ConfigError, PluginError
from bioplaus.experiments.experiment import configure
from bioplaus.network.activations import parse_activation
from bioplaus.network.toml_layers import KINDS
from bioplaus.network.toml_nodes import _KINDS as NODE_KINDS
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins.names import BUILT_IN_LAYERS
from bioplaus.tasks.task import Task, read_task
from bioplaus.testing import Failure, check_layer
from tests.helpers.command import call
from tests.helpers.networks import draw, worst
from tests.helpers.strangers import install

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "write-a-rule.md").read_text(encoding="utf-8")
SOURCE = PAGE.partition("# my_gains.py\n")[2].partition("```")[0]
"""As the documentation has it."""
GAINS = '{ type = "my-gains", activation = "tanh" }'
TASK = """
name = "gains"
dataset = "digits"
loss = "cross_entropy"
batch_size = 30
epochs = 1
optimizer = {{ name = "adam", lr = 1e-3 }}
network = {{ layers = [{layers}, {{ units = 10 }}], init = "xavier_normal" }}
"""


def task_file(folder: Path, layers: str = "{ units = 7 }, " + GAINS) -> str:
    path = folder / "gains.toml"
    path.write_text(TASK.format(layers=layers))
    return str(path)


def add(site: Path, module: str = "my_gains", source: str = SOURCE, name: str = "my-gains") -> None:
    install(site, module, source, f"{name} = {module}:GainsKind", "bioplaus.layers")


def test_a_rule_trains_it_as_autograd_would(site: Path, tmp_path: Path) -> None:
    add(site)
    task = read_task(task_file(tmp_path))
    net = task.build_network()
    assert [layer.kind for layer in net.layers] == ["dense", "my-gains", "dense"]
    params = {n: t + draw(1, n, *t.shape) / 9 for n, t in net.init(Stream(0)).items()}
    x, y = draw(0, "x", 6, 64), torch.eye(10, dtype=torch.float64)[:6]
    rule = bioplaus.get_rule("backprop")
    state = rule.init_state(net, params, Stream(0))
    ours = rule.update(net, params, state, bioplaus.Batch(x, y), {}).grads
    theirs = torch.func.grad(lambda p: net.mean_loss(p, x, y))(params)
    assert worst(ours, theirs) <= 1e-12


def test_a_task_with_it_survives_json_and_is_keyed_by_its_version(
    site: Path, tmp_path: Path
) -> None:
    add(site)
    task = read_task(task_file(tmp_path))
    content = json.loads(json.dumps(task.content()))
    assert content["network"]["layers"][1] == {"type": "my-gains", "activation": "tanh"}
    assert Task.model_validate_json(task.model_dump_json()) == task
    experiment = configure("backprop", task, {})
    assert experiment.configuration(task.load_training_data())["layers"] == {"my-gains": 1}
    plain = configure("backprop", read_task("digits-mlp"), {})
    assert "layers" not in plain.configuration(task.load_training_data())


def test_it_stands_in_blocks_and_among_nodes(site: Path, tmp_path: Path) -> None:
    add(site)
    block = f'{{ units = 7 }}, {{ type = "residual", layers = [{GAINS}] }}'
    net = read_task(task_file(tmp_path, block)).build_network()
    assert net.layers[-1].out_shape == (10,)
    text = TASK.partition("network =")[0].format() + (
        '[network]\ninit = "xavier_normal"\nnodes = [{ name = "a", units = 6 }, '
        '{ name = "b", type = "my-gains" }, { name = "c", type = "add", inputs = ["a", "b"] }, '
        '{ name = "d", units = 10 }]\n'
    )
    (tmp_path / "graph.toml").write_text(text)
    assert read_task(str(tmp_path / "graph.toml")).build_network().layers[-1].out_shape == (10,)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ('{ type = "my-gain" }', "unknown layer type 'my-gain'; did you mean my-gains"),
        ('{ type = "my-gains", units = 3 }', "my-gains: units: "),
        ('{ type = "my-gains", activation = 3 }', "my-gains: activation: "),
    ],
)
def test_wrong_tables_are_one_line(layers: str, said: str, site: Path, tmp_path: Path) -> None:
    add(site)
    with pytest.raises(ConfigError, match=said) as caught:
        read_task(task_file(tmp_path, layers))
    assert "\n" not in str(caught.value)


BROKEN = {
    "import": ("import nosuchmodule\n", "does not load: ModuleNotFoundError"),
    "raises": (SOURCE.replace("return Gains(", "return 1 / 0, ("), "ZeroDivisionError"),
    "returns": (SOURCE.replace("return Gains(", "return ("), "`build` returned"),
    "class": (SOURCE.replace("(LayerKind)", ""), "derive its class from bioplaus.LayerKind"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_one_costs_its_own_cells(fault: str, site: Path, tmp_path: Path) -> None:
    source, said = BROKEN[fault]
    add(site, f"broken_{fault}", source)
    suite = Suite.model_validate({
        "name": "s", "seeds": 1, "rules": ["backprop"],
        "tasks": [task_file(tmp_path), "digits-mlp"],
    })  # fmt: skip
    benchmark = expand(suite, lambda task: False)
    assert [entry.task.name for entry in benchmark.entries] == ["digits-mlp"]
    assert said in benchmark.skipped[0] and "my-gains" in benchmark.skipped[0]
    with pytest.raises(PluginError, match=said):
        read_task(task_file(tmp_path)).build_network()


def test_it_is_listed_without_an_import(site: Path) -> None:
    add(site)
    add(site, "absent", "raise SystemExit\n", "dense")
    shown = call("list", "layers").stdout
    assert "my-gains\tOne weight for each unit.\tmy_gains 1.0" in shown
    assert "dense\tAll-to-all weights.\tbuilt-in" in shown
    assert "'dense' is no name for a layer: a built-in layer of that type" in shown


def test_built_in_types_are_nobody_elses() -> None:
    assert set(BUILT_IN_LAYERS) == {*KINDS, *NODE_KINDS}


def test_the_kit_compares_its_algebra_with_autograd() -> None:
    space: dict[str, object] = {}
    exec(SOURCE, space)
    tanh = parse_activation("tanh")
    layer = space["Gains"](5, tanh)  # type: ignore[operator]
    check_layer(layer)
    for name, wrong, said in (
        ("adjoint", lambda self, p, r, d: d, "`adjoint` is not the transpose of `forward`"),
        ("weight_grad", lambda self, r, d: {"weight": d.sum(0)}, "`weight_grad` of weight is not"),
        ("weight_grad", lambda self, r, d: {}, "`weight_grad` gives nothing, due is weight"),
    ):
        cls = type("Wrong", (type(layer),), {name: wrong})
        with pytest.raises(Failure, match=said):
            check_layer(cls(5, tanh))
