"""Task files and suites as people get them wrong: one line, where it is, and what to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bioplaus.benchmark.suite import read_suite
from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import plan
from tests.helpers.tiny import TINY

HEAD = TINY.partition("[network]")[0]


def network(text: str) -> str:
    return f"{HEAD}[network]\n{text}\n"


def layers(text: str, *more: str) -> str:
    return network("\n".join((*more, f"layers = [{text}]")))


def nodes(text: str) -> str:
    return network(f"nodes = [{text}]")


def changed(old: str, new: str) -> str:
    assert TINY.count(old) == 1
    return TINY.replace(old, new)


def beside(line: str) -> str:
    return changed("epochs = 2", f"epochs = 2\n{line}")


SPIKES = '{ type = "encode" }, { units = 16, neuron = {} }'
IN_TIME = "steps = 5"
TASKS = {
    "encode beside nodes": (network('encode = "latency"\nnodes = [{ name = "a", units = 16 }]'),
        r'encode is a layer, not a field of \[network\]: write \{ type = "encode", ... \}'),
    "units in [network]": (network("units = 16"), r"units is of one layer.*write it into a table"),
    "no layers": (layers(""), r"network.layers: at least 1 item is due \(given: \[\]\)"),
    "no nodes": (nodes(""), r"network.nodes: at least 1 item is due"),
    "inputs as text": (nodes('{ name = "a", units = 16, inputs = "x" }'), r'as in \["x"\]'),
    "three factors": (nodes('{ name = "a", units = 16 }, '
        '{ name = "b", type = "multiply", inputs = ["a", "a", "a"] }'),
        r"node b \(multiply\): .* two inputs, not 3: multiply two of them in a node before"),
    "a circle": (nodes('{ name = "a", units = 16, input = "b" }, { name = "b", units = 16 }'),
        r"node a reads b, which reads a in turn"),
    "convolution on vectors": (
        layers('{ units = 64 }, { type = "conv2d", channels = 1, kernel = 3 }'),
        r"layer 2 \(conv2d\).*shape \(64,\): put it below the layers that give vectors"),
    "a large kernel": (layers('{ type = "conv2d", channels = 3, kernel = 30 }'),
        r"30 x 30 kernel does not fit on an input of 8 x 8: make it smaller, or pad more"),
    "few outputs": (layers("{ units = 4 }"),
        r"4 output units.* 10 classes: give the last layer 10"),
    "more than there is memory": (layers("{ units = 16000000 }, { units = 16000000 }"),
        r"weights alone take 2,048,008 GB.*this machine has \d+ GB: make layers smaller"),
    "a pad as wide as an image": (
        beside("augment = { pad = 8 }"), r"augment.pad is 8, and images of 8 x 8.* take 7 at most"),
    "a hole as large": (
        beside("augment = { cutout = 9 }"), r"augment.cutout is 9, and .* take 8 at most: make it"),
    "softmax": (layers('{ units = 16, activation = "softmax" }'),
        r"cross_entropy takes the outputs before a softmax: leave it out"),
    "a slope in words": (layers('{ units = 16, activation = "leaky_relu(a)" }'),
        r"needs a number, as in leaky_relu\(0.1\), not 'a'"),
    "time without an encoder": (layers("{ units = 16 }", IN_TIME),
        r'layer 1 \(dense\).*begin with \{ type = "encode" \}'),
    "time without a readout": (layers(SPIKES, IN_TIME),
        r'layer 2 \(dense\).*end with \{ type = "readout" \}'),
    "a long readout": (layers(SPIKES + ', { type = "readout", last = 9 }', IN_TIME),
        r"last 9 steps, of 5: make last smaller, or steps more"),
    "another surrogate": (layers('{ units = 16, neuron = { surrogate = "fast_sigmoid" } }'),
        r"unknown surrogate 'fast_sigmoid'; there are: atan, superspike, triangle"),
    "momentum of adam": (changed("lr = 1e-3", "lr = 1e-3\nmomentum = 0.9"),
        r"adam has no setting momentum; it has lr, betas, eps, weight_decay, layer_rates"),
    "an averaging factor": (changed("lr = 1e-3", "lr = 1e-3\nbetas = [0.9, 2.0]"),
        r"optimizer.betas.1: it should be less than 1 \(given: 2.0\)"),
    "targets of classes": (beside('targets = "classes"'), r"it should be 'values', or left out"),
    "metric of classes": (beside('metric = "accuracy"'), r"'r2' or 'loss', or left out"),
    "a goal in a word": (beside('goal = "reconstruction"'), r"goal: a table is due, of .*kind"),
    "goal without views": (beside('goal = { kind = "two-views" }'), r"needs \[goal.views\]"),
    "a share as validation": (changed("validation = 937", "validation = 0.1"), r"a whole number"),
    "continual in a word": (beside('continual = "split"'), r"of experiences, kind, scenario"),
    "pruning misspelt": (beside("pruning = { sparsty = 0.5 }"), r"did you mean sparsity"),
    "a capital": (beside("normalise = True"),
        r"\(at line 9, column 13\), 'normalise = True'; .*true and false in small letters"),
    "twice": (beside("epochs = 3"), r"at line 9.*'epochs = 3'.*no key twice"),
    "YAML": ("name: tiny\n", r"'name: tiny'; TOML has lines key = value"),
    "a suite": ('name = "s"\nrules = []\ntasks = []\n',
        r"is a suite, not a task: `bioplaus bench`"),
}  # fmt: skip
"""Content of own.toml, and what is said."""

SUITE = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-mlp"]\nseeds = 1\n'
MANY = list(range(2, 200))
SUITES = {
    "a task": (TINY, r"is a task, not a suite: `bioplaus run --task` trains on it"),
    "no rules": (SUITE.replace('["backprop"]', "[]"), r"rules: at least 1 item is due"),
    "seeds in words": (SUITE.replace("= 1", '= "0-4"'), r"how many seeds is due, as in 5, or a"),
    "a seed twice": (SUITE.replace("= 1", "= [3, 0, 3]"), r"the seed 3 stands there twice: leave"),
    "two swept fields": (SUITE + "[sweep]\ndepth = [3, 4]\nwidth = [8, 9]\n",
        r"a \[sweep\] has one field, not 2: write \[cross\]"),
    "a swept number": (SUITE + "[sweep]\ndepth = 3\n", r"a list is due, as in \[1, 2\]"),
    "nothing to sweep": (SUITE + "[cross]\ndepth = []\n", r"cross.depth: at least 1 item is due"),
    "half a million": (f"{SUITE}[cross]\ndepth = {MANY}\nwidth = {MANY}\n",
        r"are 39,204, and 10,000 at most: cross fewer"),
    "both": (SUITE + "[sweep]\ndepth = [3]\n[cross]\nwidth = [8]\n", r"a \[sweep\] or a \[cross\]"),
    "tuning in a number": ("tuning = 5\n" + SUITE, r"tuning: a table is due, of .*trials"),
}  # fmt: skip


@pytest.mark.parametrize("case", TASKS)
def test_a_task_file(case: str, tmp_path: Path) -> None:
    content, says = TASKS[case]
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(BioplausError) as caught:
        plan(["backprop"], str(path))
    said = str(caught.value)
    assert re.search(says, said), said
    assert "\n" not in said and len(said) < 600 and ("own.toml" in said or "task tiny" in said)


@pytest.mark.parametrize("case", SUITES)
def test_a_suite(case: str, tmp_path: Path) -> None:
    content, says = SUITES[case]
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(BioplausError) as caught:
        read_suite(str(path))
    said = str(caught.value)
    assert re.search(says, said), said
    assert "\n" not in said and "own.toml" in said


def test_a_file_that_is_not_there_is_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BioplausError, match=rf"No such file.*looked for in {tmp_path}"):
        plan(["backprop"], "none.toml")
