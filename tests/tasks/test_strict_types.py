"""Task files and settings are taken at their word: nothing in quotes is a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioplaus.api import get_rule
from bioplaus.api.arguments import chosen_rules
from bioplaus.errors import ConfigError
from bioplaus.experiments.settings import parse_assignments
from bioplaus.learning.schedule import Schedule
from bioplaus.tasks.task import Task, read_task
from bioplaus.testing.numbers import EPOCHS, few_epochs

HEAD = 'name = "own"\ndataset = "digits"\nloss = "cross_entropy"\nbatch_size = 30\nepochs = 1\n'
NETWORK = '[network]\nlayers = [{ units = 10 }]\n[optimizer]\nname = "adam"\n'
SOUND = HEAD + NETWORK


def wrong(tmp_path: Path, text: str) -> str:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_task(str(tmp_path / "own.toml"))
    line = str(caught.value)
    assert "\n" not in line
    assert "Input should" not in line and "Extra inputs" not in line and "instance of" not in line
    return line


CASES = {
    "a number in quotes": (
        SOUND.replace("batch_size = 30", 'batch_size = "30"'),
        "batch_size: a whole number is due (given: '30')"),
    "a switch for a number": (
        SOUND.replace("epochs = 1", "epochs = true"), "a whole number is due (given: True)"),
    "a fraction": (
        SOUND.replace("epochs = 1", "epochs = 30.5"), "a whole number is due (given: 30.5)"),
    "pixels in quotes": (
        SOUND + '[augment]\npad = "4"\n', "augment.pad: a whole number is due (given: '4')"),
    "yes for a switch": (
        SOUND + '[augment]\nflip = "yes"\n', "augment.flip: true or false is due, without quotes"),
    "a word for a table": (
        'schedule = "cosine"\n' + SOUND, "schedule: a table is due, of every, gamma, kind, warmup"),
    "a list for a table": (
        'augment = ["flip"]\n' + SOUND, "augment: a table is due, of cutout, flip, pad"),
    "gamma of a cosine": (
        SOUND + '[schedule]\nkind = "cosine"\ngamma = 0.5\n', 'gamma is for kind = "step"'),
    "every of a line": (
        SOUND + '[schedule]\nkind = "linear"\nevery = 3\n', 'every is for kind = "step"'),
    "a schedule's field misspelt": (
        SOUND + "[schedule]\nwarm = 3\n", "warm: there is no such field; did you mean warmup"),
    "a rate in quotes": (
        SOUND + 'lr = "1e-3"\n', "optimizer.lr: a number is due (given: '1e-3')"),
    "one number for two": (SOUND + "betas = 0.9\n", "betas: a list is due, as in [1, 2]"),
    "quotes in a list": (SOUND + 'betas = ["0.9", 0.99]\n', "betas.0: a number is due"),
    "units in quotes": (
        SOUND.replace("units = 10", 'units = "10"'), "units: a whole number is due (given: '10')"),
    "a name with a blank": (
        SOUND.replace('"own"', '"My task"'), "name: small letters, digits, hyphens"),
    "no normalising said aloud": (
        "normalise = false\n" + SOUND, "normalise: it should be true, or left out"),
    "a share in words": (
        SOUND + '[pruning]\nsparsity = "half"\n', "pruning.sparsity: a number is due"),
    "a table for a list": (
        SOUND.replace("[{ units = 10 }]", "{ units = 10 }"), "network.layers: a list is due"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_one_line_that_says_what_is_due(case: str, tmp_path: Path) -> None:
    text, said = CASES[case]
    assert said in wrong(tmp_path, text)


def test_a_sound_file_and_what_it_dumps_are_read(tmp_path: Path) -> None:
    text = SOUND + "lr = 1\nbetas = [0.9, 0]\n[schedule]\nkind = 'step'\ngamma = 0.5\n"
    (tmp_path / "own.toml").write_text(text)
    task = read_task(str(tmp_path / "own.toml"))
    assert task.optimizer.betas == (0.9, 0.0) and task.optimizer.lr == 1.0
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert Task.model_validate(task.model_dump()) == task
    cosine = read_task("digits-mlp").updated({"schedule.kind": "cosine"})
    assert cosine.updated({"epochs": 3}).schedule == Schedule()


def test_settings_keep_their_spellings() -> None:
    said = parse_assignments(["a=.5", "b=5.", "c=1e-3", "d=-.5E2", "e=1/255", "f='3'", "g=007"])
    assert said == {"a": 0.5, "b": 5.0, "c": 1e-3, "d": -50.0, "e": "1/255", "f": "3", "g": "007"}
    settings = chosen_rules("backprop", {"task.batch_size": np.int64(20), "x": [1]}, None).settings
    assert settings == {"task.batch_size": 20, "x": [1]}
    assert type(settings["task.batch_size"]) is int


def test_check_trains_as_the_task_says() -> None:
    task = read_task("digits-mlp").updated({
        "schedule.kind": "linear", "pruning.sparsity": 0.5, "normalise": True,
    })  # fmt: skip
    spent = few_epochs(get_rule("backprop"), task)
    assert spent.schedule == task.schedule and spent.pruning == task.pruning
    assert spent.epochs == EPOCHS and spent.batch_size == task.batch_size
