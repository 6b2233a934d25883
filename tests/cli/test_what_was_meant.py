"""Words that are no command, or stand in the wrong place: what is meant instead is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import bioplaus
from bioplaus.tasks.fields import layers, tables
from bioplaus.tasks.task import Task
from tests.helpers.command import call

MEANT = {
    "run gaitprop": "did you mean `--rule gaitprop`?",
    "run gaitprob": "did you mean `--rule gaitprop`?",
    "run digits-mlp": "did you mean `--task digits-mlp`?",
    "run my.py": "did you mean `--plugin my.py`?",
    "run my.toml": "did you mean `--task my.toml`?",
    "run ortho=1": "did you mean `--set ortho=1`?",
    "run cuda:0": "did you mean `--device cuda:0`?",
    "run 0-4": "did you mean `--seeds 0-4`?",
    "run --rule backprop off": "did you mean `--compile off`?",
    "tune gaitprop": "did you mean `--rule gaitprop`?",
    "speed gaitprop": "did you mean `--rule gaitprop`?",
    "measure gaitprop": "did you mean `--rule gaitprop`?",
    "claims gaitprop": "did you mean `--rule gaitprop`?",
    "report gaitprop": "did you mean `--rule gaitprop`?",
    "report csv": "did you mean `--format csv`?",
    "report there": "did you mean `--results there`?",
    "list tasks gaitprop": "did you mean `--rule gaitprop`?",
    "show backprop gaitprop": "one at a time; then `bioplaus show gaitprop`",
    "bench quick depth": "one at a time; then `bioplaus bench depth`",
    "bench quick gaitprop": "`bioplaus run` takes it, as `--rule gaitprop`",
    "gaitprop": "did you mean `bioplaus run --rule gaitprop`?",
    "quick": "did you mean `bioplaus bench quick`?",
    "train": "did you mean `bioplaus run`?",
    "plot": "did you mean `bioplaus report`?",
    "list optimizers": "`bioplaus show optimizer` explains it",
    "list gaitprop": "`bioplaus show gaitprop` explains it",
    "run --dry-run": "`bioplaus bench` has it",
    "run --seed 1": "did you mean --seeds?",
    "run --lr 0.1": "did you mean `--set optimizer.lr=VALUE`?",
    "run --batch-size 5": "did you mean `--set task.batch_size=VALUE`?",
    "check --rule gaitprop": "a rule is given without it, as in `bioplaus check NAME`",
    "bench --suite quick": "a suite is given without it",
    "bench": "`bioplaus list suites` names them",
    "merge there": "write `--into DIR`",
    "run --rule my-rule": "given by --plugin FILE, or installed: `pip install -e .`",
    "run --rule dfa": "did you mean direct-feedback-alignment?",
    "run --rule GAITprop": "did you mean gaitprop?",
    "run --rule qqq": "`bioplaus list rules` names the",
    "run --rule backprop --task mnist": "did you mean mnist-mlp, ",
    "run --rule backprop --task there": "it is a folder",
    "run --rule backprop --task my-task": "given as FILE.toml",
    "run --rule ours": "ours/pyproject.toml declares it: install the project (pip install -e ours)",
    "run --rule backprop,gaitprop": "give each by itself: --rule backprop --rule gaitprop",
    "run --rule my.py": "a file is given by --plugin my.py",
    "check my.py": "a file is given by --plugin my.py",
    "tune --rule backprop --rule gaitprop": "--rule is given twice: give it once",
    "run --rule backprop --task digits-mlp --task mnist-mlp": "--task is given twice",
    "bench digits-mlp": "`bioplaus run --task digits-mlp` trains on it",
    "compare gaitprop backprop --results there": "`bioplaus run --rule gaitprop` makes some",
    "run --rule backprop --set network.layers=3": "make a task of your own",
    "run --rule backprop --set task.network.layers=3": "make a task of your own",
    "run --rule backprop --set task.activation=gelu": "task digits-square: unknown activation",
    "new rule my-rule --into there/file": "name another folder with --into DIR",
    "merge there --into there/file": "choose another with --into DIR",
    "show qqq": "`bioplaus list` names rules, datasets",
    "show earlystopping": "did you mean early_stopping?",
    "show cifar101": "did you mean cifar10",
}


@pytest.mark.parametrize("typed", MEANT)
def test_what_is_meant_is_said_in_one_line(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("there", "file").write_text("")
    Path("ours").mkdir()
    declared = '[project]\nname = "o"\n[project.entry-points."bioplaus.rules"]\nours = "o:O"\n'
    Path("ours", "pyproject.toml").write_text(declared)
    done = call(*typed.split())
    assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit)
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and MEANT[typed] in line, line
    assert len(line) < 400, "no list of all rules or tasks where one is meant"


def test_a_data_set_is_shown_with_the_tasks_on_it() -> None:
    said = call("show", "cifar10").stdout
    assert "One example  3 x 32 x 32, 10 classes" in said
    assert "50,000 to train, 10,000 to test" in said and "cifar10-resnet" in said
    assert "Source: A. Krizhevsky" in said
    assert "dataset =" in call("show", "svhn").stdout  # which has no task yet: how to write one


def test_what_several_are_called_is_told_apart() -> None:
    done = call("show", "mnist")
    assert 'name = "mnist"' in done.stdout and "`bioplaus show mnist --as dataset`" in done.stderr
    assert "1 x 28 x 28" in call("show", "mnist", "--as", "dataset").stdout


@pytest.mark.parametrize("name", [name for name in Task.model_fields if name != "name"])
def test_every_field_of_a_task_is_shown(name: str) -> None:
    done = call("show", name, "--as", "field")
    assert done.exit_code == 0, done.output
    info = Task.model_fields[name]
    inner = [table for table in tables() if table.path == (name,)]
    assert (inner[0].what if inner else info.description or name) in done.stdout


def test_fields_say_what_they_may_be() -> None:
    schedule = call("show", "schedule").stdout
    assert "'cosine' | 'linear' | 'step' | 'constant'" in schedule
    assert "--set task.schedule.kind=VALUE" in schedule
    assert "patience = required  (int, >= 1)" in call("show", "early_stopping").stdout
    assert "what each spike adds to the threshold" in call("show", "adaptation").stdout
    assert "lr = 0.001  (float, > 0)" in call("show", "optimizer.lr").stdout


def test_every_layer_says_what_it_is() -> None:
    rows = [row.split("\t") for row in call("list", "layers").stdout.splitlines()]
    assert {name for name, *_ in rows} >= set(layers())
    assert all(what for _, what, _ in rows)


@pytest.mark.parametrize("words", [["{}"], ["run", "--rule", "backprop", "--task", "{}"],
                                   ["verify", "{}"], ["report", "--results", "{}"]])  # fmt: skip
def test_a_name_too_long_for_a_file_is_no_traceback(words: list[str]) -> None:
    done = call(*(word.format("a" * 300) for word in words))
    assert isinstance(done.exception, SystemExit) and done.exit_code in (1, 2), done.exception
    assert done.output.startswith("Error: "), done.output


def test_completion_by_the_shell_survives_what_is_wrong() -> None:
    from click.shell_completion import ShellComplete

    from bioplaus.cli import main

    shell = ShellComplete(main, {}, "bioplaus", "_BIOPLAUS_COMPLETE")
    found = shell.get_completions(["run", "--task", "a", "--task", "b"], "--ep")
    assert "--epochs" in [one.value for one in found]


def test_fields_of_a_task_are_no_list_of_tasks() -> None:
    done = call("run", "--rule", "backprop", "--set", "task.qqqqq=1")
    assert done.exit_code != 0 and "batch_size" in done.output and "list tasks" not in done.output


def test_what_fails_within_an_import_is_not_a_name_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> None:
        raise AttributeError("module 'torch' has no attribute 'uint16'")

    monkeypatch.setattr(bioplaus, "_load", broken)
    with pytest.raises(AttributeError, match="uint16"):
        bioplaus.__getattr__("run")
    with pytest.raises(AttributeError, match=r"did you mean bioplaus\.run"):
        bioplaus.__getattr__("train")


def test_a_number_given_twice_is_the_last_as_in_any_program(tiny: Path, tmp_path: Path) -> None:
    words = ["run", "--rule", "backprop", "--task", str(tiny), "--epochs", "1", "--seeds", "3"]
    done = call(*words, "--seeds", "1", "--results", str(tmp_path / "r"))
    assert done.exit_code == 0 and "1 seed," in done.output, done.output
