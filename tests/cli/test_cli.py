"""The command line as its users meet it: text, exit status, no traceback."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import Result

from bioplaus import tasks
from bioplaus.cli.options import SeedsType
from bioplaus.plugins import registry
from tests.helpers.command import BIOPLAUS, call
from tests.helpers.tiny import TINY


def run(tiny: Path, results: Path, *more: str, rule: str = "gaitprop") -> Result:
    return call("run", "--rule", rule, "--task", str(tiny), "--seeds", "2",
                "--results", str(results), *more)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two rules, one of them under two configurations."""
    folder = tmp_path_factory.mktemp("cli")
    tiny = folder / "tiny.toml"
    tiny.write_text(TINY)
    where = folder / "results"
    assert run(tiny, where, "--rule", "backprop").exit_code == 0
    assert run(tiny, where, "--set", "ortho=0.05").exit_code == 0
    return where


def test_run_prints_a_table_and_leaves_records(tiny: Path, tmp_path: Path) -> None:
    done = run(tiny, tmp_path / "r")
    assert done.exit_code == 0, done.output
    assert "gaitprop" in done.stdout and "tiny" in done.stdout
    assert len(list((tmp_path / "r").rglob("seed-*.json"))) == 2
    again = run(tiny, tmp_path / "r")
    assert "2 records of 2 already in" in again.stderr
    forced = run(tiny, tmp_path / "r", "--force")
    assert "already in" not in forced.stderr


def test_without_a_task_the_choice_is_named(tmp_path: Path) -> None:
    done = call("run", "--rule", "backprop", "--seeds", "1", "--epochs", "1",
                "--results", str(tmp_path))  # fmt: skip
    assert done.exit_code == 0
    assert "digits-square (no --task given)" in done.stderr


def test_csv_is_alone_on_stdout(results: Path) -> None:
    done = call("report", "--results", str(results), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    header = "task,rule,config,seeds,diverged,test_accuracy,test_accuracy_std,"
    assert done.stdout.startswith(header)
    assert {(r["rule"], r["config"], r["seeds"]) for r in rows} == {
        ("backprop", "", "2"),
        ("gaitprop", "", "2"),
        ("gaitprop", "ortho=0.05", "2"),
    }
    assert all(0 <= float(r["test_accuracy"]) <= 1 for r in rows)


@pytest.mark.parametrize("form", registry.names("report"))
def test_every_format_reports(results: Path, form: str, tmp_path: Path) -> None:
    done = call("report", "--results", str(results), "--format", form)
    assert done.exit_code == 0
    assert "gaitprop" in done.stdout
    out = tmp_path / "report"
    assert (
        call("report", "--results", str(results), "--format", form, "-o", str(out)).exit_code == 0
    )
    assert out.read_text() == done.stdout


def test_report_filters(results: Path) -> None:
    only = call("report", "--results", str(results), "--rule", "backprop", "--format", "csv")
    assert only.stdout.count("\n") == 2
    none = call("report", "--results", str(results), "--task", "other")
    assert none.exit_code == 1
    assert "no records in" in none.stderr and "--task other" in none.stderr


def test_a_damaged_record_is_named_skipped_and_kept(results: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(results, folder)
    victim = sorted(folder.rglob("seed-*.json"))[0]
    victim.write_text(victim.read_text()[:200])
    done = call("report", "--results", str(folder), "--format", "csv")
    assert done.exit_code == 0
    assert str(victim) in done.stderr and "damaged" in done.stderr
    assert victim.exists()
    seeds = {(r["rule"], r["config"]): r["seeds"] for r in csv.DictReader(io.StringIO(done.stdout))}
    assert sorted(seeds.values()) == ["1", "2", "2"]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("what", ["rules", "datasets", "tasks"])
def test_lists_are_one_line_per_item_when_piped(what: str) -> None:
    done = call("list", what)
    names = tasks.names() if what == "tasks" else registry.names(what.removesuffix("s"))
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == names
    assert [line for line in lines if len(line.split("\t")) != 3 or not all(line.split("\t"))] == []


def test_list_tasks_of_a_rule_leaves_out_what_it_cannot_train() -> None:
    names = [
        line.split("\t")[0]
        for line in call("list", "tasks", "--rule", "gaitprop").stdout.splitlines()
    ]
    assert "digits-square" in names and "mnist-tower" in names
    assert "digits-mlp" not in names


@pytest.mark.parametrize("rule", registry.names("rule"))
def test_show_explains_every_rule(rule: str) -> None:
    done = call("show", rule)
    assert done.exit_code == 0, done.output
    assert "Source: " in done.stdout
    for option, field in registry.load("rule", rule).Config.model_fields.items():
        assert f"  {option} = " in done.stdout
        assert field.description in done.stdout
    assert "weight transport" in done.stdout


def test_show_prints_a_task_to_copy(tmp_path: Path) -> None:
    shown = call("show", "mnist-mlp").stdout
    assert shown == tasks.text("mnist-mlp")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "--rule", "gaitprp"], 1, "unknown rule 'gaitprp'; did you mean gaitprop?"),
        (["run", "--rule", "gaitprop", "--task", "digit-square"], 1, "did you mean digits-square"),
        (["run", "--rule", "gaitprop", "--task", "no.toml"], 1, "cannot read the task file"),
        (["run", "--rule", "gaitprop", "--set", "ortho=-1"], 1, "greater than or equal to 0"),
        (["run", "--rule", "gaitprop", "--set", "ortho"], 1, "write option=value"),
        (["run", "--rule", "gaitprop", "--device", "tpu"], 1, "unknown device 'tpu'"),
        (["run", "--rule", "gaitprop", "--device", "cuda:99"], 1, "no device 'cuda:99'"),
        (["run", "--rule", "gaitprop", "--seeds", "0"], 2, "between 1 and 10,000 seeds"),
        (["run", "--rule", "gaitprop", "--seeds", "4-1"], 2, "runs backwards"),
        (["run", "--rule", "gaitprop", "--seeds", "a"], 2, "a list such as 0-4,7"),
        (["run", "--rule", "gaitprop", "--epochs", "0"], 2, "0"),
        (["run"], 2, "Missing option '--rule'"),
        (["report", "--results", "nowhere"], 1, "there is no results folder nowhere"),
        (["report", "--format", "pdf"], 2, "'pdf' is not one of"),
        (["show", "gaitprp"], 1, "did you mean gaitprop"),
        (["list", "rulez"], 2, "No such command"),
    ],
)
def test_mistakes_get_one_line_and_a_status(
    arguments: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not Path("results").exists()


def test_missing_data_without_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOPLAUS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    done = call("run", "--rule", "gaitprop", "--task", "kmnist-square",
                "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 1
    assert "BIOPLAUS_DATA" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")


def test_results_that_cannot_be_written_stop_before_training(tiny: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = run(tiny, blocked)
    assert done.exit_code == 1
    assert f"cannot write to the results folder {blocked}" in done.stderr


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("0-4,7", [0, 1, 2, 3, 4, 7]),
        ("7,7,1", [1, 7]),
        ("5-5", [5]),
        ("2,", None),
    ],
)
def test_seeds(text: str, seeds: list[int] | None) -> None:
    import click

    if seeds is None:
        with pytest.raises(click.BadParameter):
            SeedsType().convert(text, None, None)
    else:
        assert SeedsType().convert(text, None, None) == seeds


def test_version() -> None:
    assert call("--version").stdout.startswith("bioplaus ")


def test_interrupting_a_run_loses_nothing_that_was_done(tiny: Path, tmp_path: Path) -> None:
    """Ctrl-C in the second rule: the first is saved, status 130, no traceback."""
    rules = ["--rule", "backprop", "--rule", "predictive-coding"]
    slow = ["--set", "predictive-coding.steps=20000"]
    where = ["--task", str(tiny), "--seeds", "1", "--results", str(tmp_path / "r")]
    command = [BIOPLAUS, "run", *rules, *slow, *where]
    pipe = subprocess.PIPE
    # a shell that starts the tests in the background has them, and their children, ignore SIGINT
    process = subprocess.Popen(
        command,
        stderr=pipe,
        stdout=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 100
        while not list(tmp_path.rglob("seed-*.json")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "Interrupted. Rules that had finished are saved" in stderr
    assert [path.parts[-3] for path in tmp_path.rglob("seed-*.json")] == ["backprop"]
    assert not list(tmp_path.rglob(".writing-*"))
