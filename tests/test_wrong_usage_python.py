"""Wrong usages of the Python API: a BioplausError of one line, what is wrong and what to do.

`python -m tests.test_wrong_usage_python` prints each with its message.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from torch import nn

import bioplaus
from bioplaus.errors import BioplausError

X, Y = torch.rand(10, 64), torch.arange(10) % 10


def flat() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def image() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def flat_step(x: object, y: object = Y, **given: object) -> object:
    return bioplaus.Learner(flat(), "backprop", **given).step(x, y)  # type: ignore[arg-type]


def image_step(x: object) -> object:
    return bioplaus.Learner(image(), "backprop", input_shape=(3, 8, 8)).step(x, Y)  # type: ignore[arg-type]


def learner(**given: object) -> object:
    return bioplaus.Learner(flat(), **{"rule": "backprop", **given})  # type: ignore[arg-type]


def run(*arguments: object, **given: object) -> object:
    with tempfile.TemporaryDirectory() as folder:
        given = {"epochs": 1, "results": folder, **given}
        return bioplaus.run(*(arguments or ("backprop",)), **given)  # type: ignore[arg-type]


def autocast() -> object:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return flat_step(X)


def inference() -> object:
    with torch.inference_mode():
        return learner()


def other_state() -> object:
    state = bioplaus.backward(flat(), X, Y, "feedback-alignment").state
    return bioplaus.backward(flat(), X, Y, "backprop", state=state)


class Abstract(bioplaus.LearningRule):  # type: ignore[type-arg]
    """Half a rule."""

    name = "abstract"


class Clash(type(bioplaus.get_rule("backprop"))):  # type: ignore[misc]
    """A rule under a taken name."""


Usage = tuple[Callable[[], object], str]

INPUTS: dict[str, Usage] = {
    "64 inputs, examples of 128": (
        lambda: flat_step(torch.rand(10, 128)), r"shape \(128,\), but the model reads \(64,\)"),
    "predict with examples of 128": (
        lambda: bioplaus.Learner(flat(), "backprop").predict(torch.rand(10, 128)),
        r"shape \(128,\), but the model reads \(64,\)"),
    "a transposed batch": (
        lambda: flat_step(torch.rand(64, 50)), r"reads \(64,\): is it transposed\? x\.T"),
    "predict with a transposed batch": (
        lambda: bioplaus.Learner(flat(), "backprop").predict(torch.rand(64, 50)),
        r"shape \(50,\), but the model reads \(64,\): is it transposed\? x\.T"),
    "channels last": (
        lambda: image_step(torch.rand(10, 8, 8, 3)), r"channels last\? x\.permute\(0, 3, 1, 2\)"),
    "channels last, in predict": (
        lambda: bioplaus.Learner(image(), "backprop", input_shape=(3, 8, 8)).predict(
            torch.rand(10, 8, 8, 3)), r"channels last\? x\.permute\(0, 3, 1, 2\)"),
    "channels last, in backward": (
        lambda: bioplaus.backward(image(), torch.rand(10, 8, 8, 3), Y, "backprop"),
        r"module 0 \(Conv2d\): it reads 3 channels.*last\? x\.permute"),
    "images transposed within": (
        lambda: image_step(torch.rand(10, 3, 4, 16)), r"\(3, 4, 16\), but the model reads \(3, 8,"),
    "one image": (lambda: image_step(torch.rand(3, 8, 8)), r"one example\? x\[None\]"),
    "flat images for a convolution": (
        lambda: image_step(torch.rand(10, 192)), r"x\.reshape\(-1, 3, 8, 8\)"),
    "one example": (lambda: flat_step(torch.rand(64)), r"x\[None\]"),
    "no example": (lambda: flat_step(torch.rand(0, 64), Y[:0]), "holds a batch of examples"),
    "uint8 images": (
        lambda: flat_step(torch.zeros(10, 64, dtype=torch.uint8)), r"uint8.* x\.float\(\) / 255"),
    "uint8 from numpy": (
        lambda: flat_step(np.zeros((10, 64), np.uint8)), r"uint8.* x\.float\(\) / 255"),
    "whole numbers": (lambda: flat_step(X.long()), r"x is torch\.int64.*x\.float\(\)"),
    "bfloat16": (lambda: flat_step(X.bfloat16()), r"x is torch\.bfloat16.*x\.float\(\)"),
    "under autocast": (autocast, "autocast is on.*outside it"),
    "in inference mode": (inference, "inference_mode is on"),
    "a list": (lambda: flat_step([[0.0] * 64] * 10), r"x is a tensor .*not a list: torch\.tensor"),
    "a data frame": (
        lambda: flat_step(pandas.DataFrame(X.numpy())), r"not a DataFrame: x\.to_numpy\(\)"),
    "an array of objects": (
        lambda: flat_step(np.full((10, 64), None)), "x is an array of object, not of numbers"),
    "x with a history": (
        lambda: flat_step(X.clone().requires_grad_()), r"x needs a gradient.*x\.detach\(\)"),
    "x on another device": (lambda: flat_step(X.to("meta")), r"x is on meta.*x\.to\('cpu'\)"),
    "sparse x": (lambda: flat_step(X.to_sparse()), r"x\.to_dense\(\)"),
    "labels of a missing class": (lambda: flat_step(X, Y + 1), r"classes outside 0\.\.9"),
    "float labels": (lambda: flat_step(X, Y.float()), r"whole numbers, y\.long\(\)"),
    "labels in a column": (lambda: flat_step(X, Y[:, None]), r"vector.*: y\[:, 0\]"),
    "whole one-hot": (
        lambda: flat_step(X, nn.functional.one_hot(Y)), r"y\.float\(\) if it is one-hot"),
    "fewer labels": (lambda: flat_step(X, Y[:3]), "x has 10 examples"),
    "labels as strings": (lambda: flat_step(X, np.array(["a"] * 10)), "y is an array of <U1"),
}  # fmt: skip

ARGUMENTS: dict[str, Usage] = {
    "optimizer by name": (
        lambda: learner(optimizer="adam"), r"optimizer is an object such as .* not 'adam'"),
    "optimizer's class": (
        lambda: learner(optimizer=torch.optim.SGD), r"such as torch.*not the class SGD"),
    "optimizer of a copy": (
        lambda: learner(optimizer=torch.optim.SGD(flat().parameters(), lr=0.1)),
        "none of the model's parameters"),
    "LBFGS": (
        lambda: bioplaus.Learner(m := flat(), "backprop", optimizer=torch.optim.LBFGS(
            m.parameters())), "LBFGS evaluates the loss by itself"),
    "a learning rate": (lambda: learner(lr=0.1), r"lr is no option of backprop.*OptimizerSpec\("),
    "loss as an object": (
        lambda: learner(loss=nn.CrossEntropyLoss()), 'CrossEntropyLoss: loss="cross_entropy"'),
    "loss as a function": (
        lambda: learner(loss=nn.functional.mse_loss), 'not mse_loss: loss="mse"'),
    "loss misspelt": (lambda: learner(loss="crossentropy"), "did you mean cross_entropy"),
    "softmax last": (
        lambda: bioplaus.Learner(flat().append(nn.Softmax(1)), loss="cross_entropy"),
        r"module 3 \(Softmax\).*leave it out.*logits"),
    "input_shape as a number": (lambda: learner(input_shape=28), r"such as \(1, 28, 28\), not 28"),
    "input_shape with the batch": (
        lambda: bioplaus.Learner(image(), "backprop", input_shape=(20, 3, 8, 8)),
        "without the batch"),
    "input_shape of zeros": (lambda: learner(input_shape=(0, 8)), r"not \(0, 8\)"),
    "seed as text": (lambda: learner(seed="1"), "seed is a whole number from 0 up, not '1'"),
    "negative seed": (lambda: learner(seed=-1), "seed is a whole number from 0 up, not -1"),
    "rule as a number": (lambda: learner(rule=3), "a rule's class or a rule, not 3"),
    "rule misspelt": (lambda: learner(rule="back-prop"), "did you mean backprop"),
    "half a rule": (lambda: learner(rule=Abstract), "Abstract: it lacks plausibility, update"),
    "a plugin file that is not there": (
        lambda: learner(rule="mine", plugin="nowhere.py"), r"plugin file nowhere\.py: No such"),
    "a model's class": (lambda: bioplaus.Learner(nn.Linear), r"an nn\.Module, not Linear"),
    "sizes that do not fit": (
        lambda: bioplaus.Learner(nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 3)), "backprop"),
        r"module 1 \(Linear\): it reads 5 inputs, but the module before it gives 4"),
    "all frozen": (
        lambda: bioplaus.Learner(flat().requires_grad_(False), "backprop"), "is frozen"),
    "a model's state": (
        lambda: bioplaus.Learner(flat(), "backprop").load_state_dict(flat().state_dict()),
        "no state of a learner"),
    "another rule's state": (other_state, "state is of another rule"),
    "no state": (
        lambda: bioplaus.backward(flat(), X, Y, "backprop", state={}),  # type: ignore[arg-type]
        r"state is what the call before returned as \.state"),
    "options for a learner": (
        lambda: bioplaus.alignment(m := flat(), X, Y, bioplaus.Learner(m, "backprop"), ortho=1),
        "a learner has its options already"),
    "another learner's model": (
        lambda: bioplaus.alignment(flat(), X, Y, bioplaus.Learner(flat(), "backprop")),
        "learner is of another model: give learner.model"),
}  # fmt: skip

FIELDS: dict[str, Usage] = {
    "a rate in quotes": (
        lambda: bioplaus.OptimizerSpec(lr="0.1"), "^OptimizerSpec: lr: a number is due"),  # type: ignore[arg-type]
    "a rate below 0": (lambda: bioplaus.OptimizerSpec(lr=-1), "lr: it should be greater than 0"),
    "a rate without its name": (
        lambda: bioplaus.OptimizerSpec(0.1), r"given by name, as in OptimizerSpec\(name=\.\.\.\)"),  # type: ignore[misc]
    "another name of a field": (
        lambda: bioplaus.OptimizerSpec(rate=0.1), "rate: there is no such field; there are: alpha"),  # type: ignore[call-arg]
    "a changed field": (
        lambda: setattr(bioplaus.OptimizerSpec(), "lr", 1), "lr cannot be changed: make another"),
    "half a citation": (lambda: bioplaus.Citation(authors="A"), "^Citation: title: it is missing"),  # type: ignore[call-arg]
    "half a profile": (
        lambda: bioplaus.Plausibility(weight_transport="exact"), "should be 'none', 'sign', 'tra"),  # type: ignore
    "an option out of range": (
        lambda: type(bioplaus.get_rule("gaitprop").config)(ortho=-1), "^GaitPropConfig: ortho: it"),  # type: ignore[call-arg]
    "a range of nothing": (lambda: bioplaus.Around(0), "decades is a number above 0, not 0"),
    "a range in words": (lambda: bioplaus.Around("wide"), "decades is a number above 0, not 'wi"),  # type: ignore[arg-type]
    "a rule's number": (lambda: bioplaus.get_rule(3), "by its name, such as 'gaitprop', not 3"),  # type: ignore[arg-type]
}  # fmt: skip

RUNS: dict[str, Usage] = {
    "seed for seeds": (lambda: run(seed=1), r"run\(\) has no argument 'seed'; did you mean seeds"),
    "set for settings": (lambda: run(set={"a": 1}), "did you mean settings"),
    "data for task": (lambda: run(data="mnist"), "there are: .*task"),
    "an argument of another": (lambda: bioplaus.bench("quick", nodes=3), "'nodes'; there are: "),  # type: ignore[call-arg]
    "trial for trials": (lambda: bioplaus.tune("backprop", trial=3), "did you mean trials"),  # type: ignore[call-arg]
    "seeds as text": (lambda: run(seeds="5"), "seeds are a number or a list.*not '5'"),
    "seeds as floats": (lambda: run(seeds=[0.0, 1.0]), r"but 0\.0 is among them"),
    "three thousand million seeds": (lambda: run(seeds=3_000_000_000), "10,000 at most, not 3000"),
    "a range as long": (lambda: run(seeds=range(3_000_000_000)), "10,000 at most, not more"),
    "no seeds": (lambda: run(seeds=[]), "10,000 at most, not none"),
    "a negative seed": (lambda: run(seeds=[-1]), "but -1 is among them"),
    "rule as a number": (lambda: run(3), "a rule's class or a rule, not 3"),
    "a taken name": (lambda: run(Clash), "'backprop', which is the name of one from"),
    "a plugin's number": (lambda: run(plugin=3), "plugin is a path, not 3"),
    "no rule": (lambda: run([]), "name at least one rule"),
    "task as a number": (lambda: run(task=3), r"task is a name or a path of FILE\.toml, not 3"),
    "task misspelt": (lambda: run(task="digits-mpl"), "did you mean digits-mlp"),
    "settings as a list": (lambda: run(settings=["ortho=1"]), "settings are a dict such as"),
    "epochs as text": (lambda: run(epochs="3"), "epochs is a whole number from 1 .* not '3'"),
    "epochs of nothing": (lambda: run(epochs=0), "epochs is a whole number from 1 .* not 0"),
    "compile as a bool": (lambda: run(compile=True), "'auto' or 'on' or 'off', not True"),
    "precision misspelt": (lambda: run(precision="float32"), "unknown precision 'float32'"),
    "a device that is not there": (lambda: run(device="cuda:99"), "cuda:99"),
    "results as a number": (lambda: run(results=3), "results is a path, not 3"),
    "no results": (lambda: bioplaus.load_results("nowhere"), "nowhere"),
    "a report of nothing": (lambda: bioplaus.report("nowhere"), "nowhere"),
    "a suite misspelt": (lambda: bioplaus.bench("quik"), "did you mean quick"),
    "no suite": (lambda: bioplaus.bench(None), "name a suite"),  # type: ignore[arg-type]
    "no trials": (lambda: bioplaus.tune("backprop", trials=0), "trials is a whole number from 1"),
    "tuning two rules": (
        lambda: bioplaus.tune(["backprop", "gaitprop"]), "one rule, not 2"),  # type: ignore[arg-type]
}  # fmt: skip

USAGES = {f"{part}: {name}": usage for part, usages in (
    ("inputs", INPUTS), ("arguments", ARGUMENTS), ("fields", FIELDS), ("runs", RUNS)
) for name, usage in usages.items()}  # fmt: skip


def test_a_name_that_bioplaus_has_not_says_what_is_meant() -> None:
    for name, meant in (("train", "bioplaus.run"), ("Learnr", "bioplaus.Learner"), ("zz", "dir(")):
        assert not hasattr(bioplaus, name)
        with pytest.raises(AttributeError, match=re.escape(meant)):
            getattr(bioplaus, name)


def message_of(name: str) -> str:
    with pytest.raises(BioplausError) as caught:
        USAGES[name][0]()
    return str(caught.value)


@pytest.mark.parametrize("name", USAGES)
def test_a_wrong_usage_is_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(BioplausError, match=USAGES[name][1]) as caught:
            USAGES[name][0]()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert list(tmp_path.iterdir()) == []


if __name__ == "__main__":
    for usage in USAGES:
        print(f"| {usage} | {message_of(usage)} |")
