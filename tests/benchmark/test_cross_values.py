"""What the values of a crossed field may be."""

from __future__ import annotations

import pytest

from bioplaus.benchmark.plan import expand
from bioplaus.benchmark.suite import parse_suite
from bioplaus.errors import ConfigError

HEAD = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-mlp"]\nseeds = 2\n'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[cross]\nwidth = [8, 16, 8]\n", "width has the value 8 twice"),
        ("[cross]\nlabel_noise = [0.5, 0.5]\n", "label_noise has the value 0.5 twice"),
        ("[cross]\nsize = [{ width = 8 }, { width = 8 }]\n", "twice: leave one out"),
        ("[sweep]\nwidth = [8, 8.0]\n", "width has the value 8.0 twice"),
        ("[cross]\nwidth = [8]\nsize = [{ width = 9 }]\n", "width and size both set width"),
        (
            '[cross]\npruning = [{ sparsity = 0.5 }]\n"pruning.sparsity" = [0.8]\n',
            "pruning and pruning.sparsity both set pruning",
        ),
        (
            '[cross]\n"pruning.sparsity" = [0.8]\npruning = [{ sparsity = 0.5 }]\n',
            "pruning.sparsity and pruning both set pruning.sparsity",
        ),
    ],
)
def test_values_that_stand_twice_are_named(body: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_suite(HEAD + body, "mine.toml")


def test_a_field_that_is_a_table_takes_tables() -> None:
    text = (
        f"{HEAD}[cross]\npruning = [{{ sparsity = 0.5 }}, {{ sparsity = 0.8 }}]\nwidth = [8, 9]\n"
    )
    suite = parse_suite(text, "mine.toml")
    found = [changes for _, changes in suite.variants()]
    assert found[0] == {"pruning": {"sparsity": 0.5}, "width": 8} and len(found) == 4
    benchmark = expand(suite, needs_data=lambda task: False)
    assert benchmark.skipped == []
    pruned = [entry.base.task.pruning for entry in benchmark.entries]
    assert [p and p.sparsity for p in pruned] == [0.5, 0.5, 0.8, 0.8]
