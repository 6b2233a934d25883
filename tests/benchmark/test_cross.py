"""Suites that cross fields of their tasks, and the figures that come of them."""

from __future__ import annotations

from typing import Any

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.analysis.sweeps import sweeps
from bioplaus.benchmark.suite import parse_suite, read_suite
from bioplaus.errors import ConfigError
from bioplaus.records.schema import Record, ResultSet
from tests.helpers.boards import make_cell

HEAD = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-mlp"]\nseeds = 2\n'


def test_every_value_meets_every_other() -> None:
    suite = parse_suite(
        f'{HEAD}[cross]\n"pruning.sparsity" = [0, 0.5]\nbatch_size = [10, 20, 30]\n', "mine.toml"
    )
    assert [changes for _, changes in suite.variants()] == [
        {"pruning.sparsity": s, "batch_size": b} for s in (0, 0.5) for b in (10, 20, 30)
    ]


def test_a_table_sets_several_fields_at_once() -> None:
    suite = parse_suite(
        f"{HEAD}epochs = 9\n[cross]\nsize = [{{ train_examples = 60, epochs = 4 }}]\n", "mine.toml"
    )
    assert [changes for _, changes in suite.variants()] == [{"train_examples": 60, "epochs": 4}]


def test_a_suite_sweeps_or_crosses() -> None:
    with pytest.raises(ConfigError, match=r"a \[sweep\] or a \[cross\]"):
        parse_suite(f"{HEAD}[sweep]\nwidth = [4]\n[cross]\ndepth = [3]\n", "mine.toml")


def test_the_lottery_has_as_many_steps_everywhere() -> None:
    suite = read_suite("lottery")
    found: list[dict[str, Any]] = [changes for _, changes in suite.variants()]
    assert len(found) == 24
    steps = {c["epochs"] * (c["train_examples"] // c["batch_size"]) for c in found}
    assert steps == {1020}


def crossed(sparsity: float, examples: int, epochs: int) -> list[Record]:
    content = {
        "loss": "mse", "batch_size": 20, "train_examples": examples,
        "pruning": {"sparsity": sparsity, "kind": "random", "feedback": "dense"},
    }  # fmt: skip
    return make_cell("backprop", [0.9, 0.8], epochs=epochs, task_content=content)


def test_there_is_a_figure_over_examples_for_each_sparsity_and_the_other_way_round() -> None:
    records = [
        record
        for sparsity in (0.0, 0.5, 0.9)
        for examples, epochs in ((60, 340), (120, 170), (300, 68))
        for record in crossed(sparsity, examples, epochs)
    ]
    found = sweeps(boards(ResultSet(records)))
    assert sorted((s.field, len(s.boards)) for s in found) == [
        ("pruning.sparsity", 3), ("pruning.sparsity", 3), ("pruning.sparsity", 3),
        ("train_examples", 3), ("train_examples", 3), ("train_examples", 3),
    ]  # fmt: skip
    titles = [s.title for s in found if s.field == "train_examples"]
    assert titles == [f"toy, task.pruning.sparsity={s}" for s in (0.0, 0.5, 0.9)]
    assert len({s.title for s in found if s.field == "pruning.sparsity"}) == 3
