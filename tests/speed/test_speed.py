"""`bioplaus speed`: the loop it compares with is right, and its numbers fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import plan
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import State
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins.registry import load
from bioplaus.speed.measure import Row, ceilings, measure
from bioplaus.speed.plain_torch import eager_step, sequential
from bioplaus.training.execution import Execution
from tests.helpers.networks import make_convolutional, make_network, random_batch

CPU = torch.device("cpu")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    "net",
    [
        make_network((6, 6, 6), "leaky_relu(0.1)", "mse", classes=4),
        make_network((7, 6, 4), "tanh", "cross_entropy"),
        make_convolutional(),
    ],
    ids=["square", "rectangular", "convolutional"],
)
def test_the_eager_loop_takes_backprops_step_on_the_same_network(net: Network) -> None:
    torch.manual_seed(0)
    batch = random_batch(net, 8, 0)
    model = sequential(net).double()
    # torch registers parameters in the order of the layers, a weight and its bias
    names = list(net.init(Stream(0)))
    before = {n: p.detach().clone() for n, p in zip(names, model.parameters(), strict=True)}
    step = eager_step(net, OptimizerSpec(name="sgd", lr=1.0), batch.x, batch.y, model)
    step(torch.arange(8))
    expected = load("rule", "backprop").configured().update(net, before, State({}, {}), batch, {})
    for name, after in zip(names, model.parameters(), strict=True):
        moved = before[name] - after.detach()
        assert torch.allclose(moved, expected.grads[name], rtol=1e-10, atol=1e-12), name


def test_a_network_that_is_no_sequential_has_no_eager_loop() -> None:
    tower = make_network((8, 8, 6, 4), "leaky_relu(0.1)", "mse", kind="tower")
    with pytest.raises(UnsupportedError, match="layer 2"):
        sequential(tower)


def rows(tiny: Path, *replicas: int) -> list[Row]:
    return measure(plan(["gaitprop"], str(tiny))[0], replicas, Execution(CPU, "off"), seconds=0.01)


def test_the_numbers_of_a_row_fit_together(tiny: Path) -> None:
    one, four = rows(tiny, 1, 4)
    for row in (one, four):
        assert row.seed_steps_per_second == pytest.approx(row.replicas / row.step_seconds)
        assert row.samples_per_second == pytest.approx(50 * row.seed_steps_per_second)
        assert row.times_eager is not None and row.eager_steps_per_second is not None
        assert row.times_eager == pytest.approx(
            row.seed_steps_per_second / row.eager_steps_per_second
        )
        assert row.floor_seconds is not None and row.of_floor is not None
        assert row.of_floor == pytest.approx(row.floor_seconds / row.step_seconds)
        assert row.execution == "traced"
    assert one.step_flops == four.step_flops
    assert four.peak_bytes is not None and one.peak_bytes is not None
    assert four.peak_bytes > one.peak_bytes


def test_gaitprop_costs_what_its_equations_say(tiny: Path) -> None:
    """Layers 64-16 and 16-16, batch 50, one not square: only layer 2 is inverted.

    Forward and weight gradients 4 N n m; the regulariser's Gram matrix and its product
    2 m^2 n + 2 n m^2; the inverse, through the Gram matrix, 1 + 3 products of N n^2.
    """
    (row,) = rows(tiny, 1)
    n, wide, narrow = 50, 64, 16
    passes = 4 * n * narrow * (wide + narrow)
    regulariser = 4 * wide * wide * narrow + 4 * narrow**3
    inverse = 2 * n * narrow * narrow * (1 + 3)
    assert row.step_flops == passes + regulariser + inverse


def test_ceilings_are_positive_and_finite() -> None:
    found = ceilings(torch.float32, CPU, 10**6)
    assert 1e8 < found.flops_per_second < 1e16
    assert 1e7 < found.bytes_per_second < 1e14


def test_json_is_for_programs(tiny: Path) -> None:
    done = call("speed", "--rule", "backprop", "--task", str(tiny), "--replicas", "1,2",
                "--compile", "off", "--format", "json")  # fmt: skip
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert [row["replicas"] for row in content["rows"]] == [1, 2]
    assert content["precision"] == "fp32"


def test_the_table_and_the_picture(tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "speed.svg"
    done = call("speed", "--rule", "backprop", "--task", str(tiny), "--replicas", "1",
                "--compile", "off", "--plot", str(picture))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tiny" in done.stdout and "x eager" in done.stdout
    assert picture.read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "gaitpropp"], "did you mean gaitprop"),
        (["--rule", "backprop", "--replicas", "0"], "give numbers such as 1,4,16"),
        (["--rule", "backprop", "--plot", "x.gif"], ".svg, .png, .pdf"),
        (["--rule", "backprop", "--plot", "no/such/x.svg"], "there is no folder"),
        (["--rule", "backprop", "--precision", "tf32", "--device", "cpu"], "CUDA"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    done = call("speed", *arguments)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_row_says_so_and_what_it_took(tiny: Path) -> None:
    (row,) = measure(plan(["backprop"], str(tiny))[0], [2], Execution(CPU, "on"), seconds=0.01)
    assert row.execution == "compiled"
    assert row.setup_seconds > 0
