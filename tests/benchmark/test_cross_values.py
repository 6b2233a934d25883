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


@pytest.mark.parametrize(
    "suite",
    [
        '[cross]\npruning = [{ sparsity = 0.5 }, { sparsity = 0.5, kind = "random" }]\n',
        '[cross]\nx = [{ "pruning.sparsity" = 0.5 }, { pruning = { sparsity = 0.5 } }]\n',
        '[cross]\nx = [{}, { "optimizer.lr" = 1e-3 }]\n',
        '[sweep]\n"optimizer.betas" = [[0.9, 0.99], [0.90, 0.990]]\n',
    ],
)
def test_values_that_come_to_the_same_are_one(suite: str) -> None:
    """Whatever a table leaves out is its default."""
    with pytest.raises(ConfigError, match="twice"):
        expand(parse_suite(HEAD + suite, "mine.toml"), needs_data=lambda task: False)


@pytest.mark.parametrize(
    ("rules", "tasks"),
    [
        ('["backprop"]', '["digits-mlp", "digits-mlp"]'),
        ('["backprop"]', '["digits-mlp", { task = "digits-mlp", set = { batch_size = 30 } }]'),
        (
            '["predictive-coding", { rule = "predictive-coding", set = { steps = 20 } }]',
            '["digits-mlp"]',
        ),
        (
            '[{ rule = "backprop", set = { "task.width" = 8 } }, '
            '{ rule = "backprop", set = { "task.width" = 8, "optimizer.lr" = 1e-3 } }]',
            '["digits-mlp"]',
        ),
    ],
)
def test_rules_and_tasks_that_come_to_the_same_are_one(rules: str, tasks: str) -> None:
    text = f'name = "mine"\nrules = {rules}\ntasks = {tasks}\nseeds = 2\n'
    suite = parse_suite(text, "mine.toml")
    with pytest.raises(ConfigError, match=r"suite mine: .* is there twice"):
        expand(suite, needs_data=lambda task: False)


def test_a_rule_that_sets_the_crossed_field_meets_its_values_once() -> None:
    rules = 'rules = [{ rule = "backprop", set = { "task.width" = 8 } }]'
    head = HEAD.replace('rules = ["backprop"]', rules)
    suite = parse_suite(f"{head}[cross]\nwidth = [16, 32]\n", "mine.toml")
    with pytest.raises(ConfigError, match=r"task.width=8 is there twice"):
        expand(suite, needs_data=lambda task: False)


def test_a_rule_named_twice_is_one() -> None:
    """As "all" beside a name is."""
    twice = HEAD.replace('["backprop"]', '["backprop", { rule = "backprop" }]')
    suite = parse_suite(twice, "mine.toml")
    assert len(expand(suite, needs_data=lambda task: False).entries) == 1


def test_true_is_no_one() -> None:
    """The field's own message, whatever stands beside it."""
    for values in ("[true, 1]", "[1, true]", "[true]"):
        suite = parse_suite(f"{HEAD}[cross]\nwidth = {values}\n", "mine.toml")
        with pytest.raises(ConfigError, match=r"width: a whole number is due \(given: True\)"):
            expand(suite, needs_data=lambda task: False)


def test_a_seed_stands_there_once() -> None:
    with pytest.raises(ConfigError, match="the seed 3 stands there twice"):
        parse_suite(HEAD.replace("seeds = 2", "seeds = [3, 4, 3]"), "mine.toml")


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
