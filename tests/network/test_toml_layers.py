"""Layers of a task file: the same blocks as a model's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

from bioplaus.cli import main
from bioplaus.errors import ConfigError
from bioplaus.nn import Residual
from bioplaus.own_model.read_modules import read_modules
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task

BLOCKS = """
name = "blocks"
dataset = "digits"
loss = "cross_entropy"
batch_size = 50
epochs = 10

[optimizer]
name = "adam"
lr = 3e-3

[network]
layers = [
    { units = 12, activation = "tanh" },
    { type = "residual", activation = "relu", layers = [
        { units = 9, activation = "tanh" },
        { type = "residual", layers = [{ units = 9, activation = "sigmoid" }] },
        { units = 12 },
    ] },
    { units = 10 },
]
"""


def test_a_task_file_has_the_same_blocks(tmp_path: Path) -> None:
    path = tmp_path / "blocks.toml"
    path.write_text(BLOCKS)
    model = nn.Sequential(
        nn.Linear(64, 12),
        nn.Tanh(),
        Residual(
            nn.Linear(12, 9), nn.Tanh(), Residual(nn.Linear(9, 9), nn.Sigmoid()), nn.Linear(9, 12)
        ),
        nn.ReLU(),
        nn.Linear(12, 10),
    )
    assert read_task(str(path)).build_network().layers == read_modules(model, (64,)).layers
    call = ["run", "--rule", "backprop", "--task", str(path), "--seeds", "2"]
    done = CliRunner().invoke(main, [*call, "--results", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    records = Store(tmp_path / "r").read_all().records
    assert len(records) == 2
    for record in records:
        assert record.test_accuracy is not None and record.test_accuracy > 0.8
        cosines = [c for k, c in record.curves.alignment["loss"].items() if "cosine" in k]
        measured = [c for layer in cosines for c in layer if c is not None]
        assert len(measured) >= 5 * 10 and min(measured) > 0.9999  # five layers have weights


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("layers = [{ units = 5 }]", r"layer 2 \(residual\): .*shape \(5,\).*has \(12,\)"),
        ("layers = []", "at least 1 item"),
        ("layers = [{ units = 12, kernel = 3 }]", "kernel: there is no such field"),
        ('layers = [{ type = "conv2d", channels = 2, kernel = 2 }]', r"layer 1 \(conv2d\)"),
    ],
)
def test_wrong_blocks_of_a_task_are_named(tmp_path: Path, block: str, message: str) -> None:
    path = tmp_path / "blocks.toml"
    network = f"layers = [{{ units = 12 }}, {{ type = 'residual', {block} }}, {{ units = 10 }}]"
    path.write_text(BLOCKS.partition("layers =")[0] + network)
    with pytest.raises(ConfigError, match=message):
        read_task(str(path)).build_network()
