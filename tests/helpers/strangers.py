"""Plugins as strangers write them: files, and distributions as pip would leave them."""

from __future__ import annotations

from pathlib import Path

RULE = '''
from bioplaus import Citation, LayeredRule, Plausibility, RuleConfig


class Mine(LayeredRule[RuleConfig]):
    """Backprop, by a stranger."""

    name = "mine"
    citation = Citation(authors="A", title="T", year=2020, venue="V")

    @property
    def plausibility(self):
        return Plausibility(
            weight_transport="transpose", phases="one", update_locking=True, backward_locking=True,
            local=False, needs_derivative="transport", signed_errors="yes",
        )

    def deltas(self, fwd):
        deltas, error = [], fwd.error
        for l in reversed(range(fwd.net.depth)):
            deltas.insert(0, fwd.trace[l].slope * error)
            weights = fwd.net.at(fwd.params, l)
            error = fwd.net.layers[l].adjoint(weights, fwd.trace[l].residuals, deltas[0])
        return deltas
'''
"""A rule that is right; tests make one thing of it wrong."""

DATASET = '''
import numpy as np
import torch
from bioplaus import Dataset, Split


class Mine(Dataset):
    """Forty and twenty points of four numbers, in three classes."""

    name = "{name}"
    shape = (4,)
    classes = 3

    def load(self, split):
        n = 40 if split == "train" else 20
        x = torch.arange(4.0 * n).reshape(n, 4) / 100
        y = torch.arange(n) % 3
        {result}
'''

TASK = """
name = "own"
dataset = "{dataset}"
loss = "cross_entropy"
batch_size = 10
epochs = 1
optimizer = {{ name = "adam", lr = 1e-3 }}
network = {{ layers = [{{ type = "dense", units = {units} }}] }}
"""


def install(folder: Path, module: str, source: str, entry: str, group: str) -> None:
    """A distribution with one module and one entry point, as pip would leave it."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


def install_dataset(folder: Path, name: str, result: str = "return Split(x, y)") -> None:
    """A dataset of that name, whose `load` ends with these words."""
    module = "data_" + name.replace("-", "_")
    source = DATASET.format(name=name, result=result)
    install(folder, module, source, f"{name} = {module}:Mine", "bioplaus.datasets")
