"""One plugin that is broken costs its own cells alone, and is named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bioplaus import tasks
from bioplaus.analysis.report import Report
from bioplaus.cli.report import rendered
from bioplaus.errors import PluginError
from bioplaus.experiments.experiment import plan
from bioplaus.plugins import registry
from bioplaus.records.schema import ResultSet
from bioplaus.running.logger import Logger, Loggers
from tests.helpers.command import BIOPLAUS, call
from tests.helpers.records import make_record
from tests.helpers.strangers import RULE, install

pytestmark = pytest.mark.usefixtures("forgotten")


def rules_kept(folder: Path) -> list[str]:
    return sorted({path.parts[-3] for path in folder.rglob("seed-*.json")})


BROKEN = {
    "plausibility raises": ('"transpose"', '"exact"'),
    "a name with an accent": ('"mine"', '"règle"'),
    "supports raises": (
        "    def deltas", "    def supports(self, net):\n        1 / 0\n\n    def deltas"
    ),
    "optimizer raises": (
        "    def deltas",
        "    @property\n    def optimizer(self):\n        return self.nowhere\n\n    def deltas",
    ),
    "no import": ("from bioplaus", "import no_such_module\nfrom bioplaus"),
    "raises in training": ("deltas, error = [],", "raise OSError\n        deltas, error = [],"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_the_rule_beside_it_is_trained(fault: str, tiny: Path, tmp_path: Path) -> None:
    old, new = BROKEN[fault]
    (tmp_path / "own.py").write_text(RULE.replace(old, new), encoding="utf-8")
    name = "règle" if "accent" in fault else "mine"
    done = call("run", "--plugin", str(tmp_path / "own.py"), "--rule", name, "--rule", "backprop",
                "--task", str(tiny), "--seeds", "1", "--epochs", "1",
                "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert rules_kept(tmp_path / "r") == ["backprop"]
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("Error: ") and ("own.py" in lines[-1] or "'mine'" in lines[-1])
    if fault != "raises in training":  # told before anything is trained
        assert lines[0].startswith("Not run: ")
    assert "backprop" in done.stdout


@pytest.mark.parametrize(
    ("change", "asked", "told"),
    [
        (("class Mine", "import no_such_module\n\n\nclass Mine"), "mine", "no_such_module"),
        (('    name = "mine"\n', ""), "mine", "`name`"),
        (('"mine"', '"backprop"'), "backprop", "choose another name"),
    ],
)
def test_the_file_is_the_reason_where_its_rule_is_asked_for(
    change: tuple[str, str], asked: str, told: str, tiny: Path, tmp_path: Path
) -> None:
    """And no built-in rule of the same name is trained in its place."""
    assert change[0] in RULE
    (tmp_path / "own.py").write_text(RULE.replace(*change), encoding="utf-8")
    done = call("run", "--plugin", str(tmp_path / "own.py"), "--rule", asked, "--task", str(tiny),
                "--seeds", "1", "--epochs", "1", "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 1 and not (tmp_path / "r").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and "own.py" in line and told in line


@pytest.mark.parametrize("name", ["règle", "my rule", "a/b", "x" * 81])
def test_a_suite_of_a_bad_name_says_so_before_training(
    name: str, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(RULE.replace("mine", name), encoding="utf-8")
    suite = tmp_path / "s.toml"
    for rules, status in ((f'["{name}"]', 1), (f'["{name}", "backprop"]', 0)):
        suite.write_text(
            f'name = "s"\nrules = {rules}\ntasks = ["{tiny}"]\nseeds = 1\nepochs = 1\n',
            encoding="utf-8",
        )
        dry = [] if status else ["--dry-run"]
        done = call("bench", str(suite), "--plugin", str(tmp_path / "own.py"), *dry,
                    "--results", str(tmp_path / "r"))  # fmt: skip
        assert done.exit_code == status and "Traceback" not in done.output, done.output
        assert "is no name for a rule" in done.stderr and "own.py" in done.stderr
        assert ("backprop on tiny" in done.stdout) == (status == 0)
        assert rules_kept(tmp_path / "r") == []


def test_a_suite_of_all_rules_leaves_it_out(tiny: Path, site: Path, tmp_path: Path) -> None:
    install(site, "absent", "", "other = nosuchmodule:Rule", "bioplaus.rules")
    suite = tmp_path / "s.toml"
    suite.write_text(f'name = "s"\nrules = "all"\ntasks = ["{tiny}"]\nseeds = 1\nepochs = 1\n')
    done = call("bench", str(suite), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "Not run: other: the rule 'other' from absent 1.0 does not load" in done.stderr
    assert "backprop on tiny" in done.stdout


def test_a_suite_that_names_it_trains_the_others_and_fails(
    tiny: Path, site: Path, tmp_path: Path
) -> None:
    install(site, "gone", "", "gone = nosuchmodule:Rule", "bioplaus.rules")
    install(site, "lost_task", "", "lost = nosuchpackage", "bioplaus.tasks")
    suite = tmp_path / "s.toml"
    suite.write_text(
        'name = "s"\nrules = ["gone", "backprop"]\nseeds = 1\nepochs = 1\n'
        f'tasks = ["lost", "{tiny}"]\n'
    )
    done = call("bench", str(suite), "--jobs", "1", "--results", str(tmp_path / "r"))
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert rules_kept(tmp_path / "r") == ["backprop"]
    last = done.stderr.splitlines()[-1]
    assert "'gone' from gone 1.0" in last and "'lost' from lost_task 1.0" in last


@pytest.mark.parametrize(
    "content", ["no = = toml", 'name = "other"', 'name = "bad"\nepochs = 1', "\xff"]
)
def test_a_bad_task_file_stops_nobody_who_does_not_use_it(content: str, site: Path) -> None:
    install(site, "othertasks_info", "", "bad = othertasks", "bioplaus.tasks")
    (site / "othertasks").mkdir()
    (site / "othertasks" / "__init__.py").touch()
    (site / "othertasks" / "bad.toml").write_text(content, encoding="latin-1")
    listed = call("list", "tasks", "--rule", "burstccn")
    assert listed.exit_code == 0 and "digits-sigmoid" in listed.stdout
    (chosen,) = plan(["burstccn"])  # whose task is looked for among all
    assert chosen.task.name == "digits-sigmoid"
    asked = call("run", "--rule", "backprop", "--task", "bad")
    assert asked.exit_code == 1 and "othertasks_info 1.0" in asked.stderr.splitlines()[-1]


def test_a_built_in_task_is_nobody_elses(site: Path) -> None:
    install(site, "same_task", "", "digits-mlp = same_task", "bioplaus.tasks")
    assert tasks.source("digits-mlp") == "built-in"
    assert "same_task 1.0 has a task 'digits-mlp'" in call("list", "tasks").stderr


def test_taken_names_leave_every_command_alone(tmp_path: Path) -> None:
    """Names are read while options are declared: so in a process of its own."""
    entries = "\n".join(
        f"[{group}]\n{name} = other:Other\nb a d = other:Other"
        for group, name in (
            ("bioplaus.reports", "csv"), ("bioplaus.loggers", "mlflow"),
            ("bioplaus.executors", "local"), ("bioplaus.rules", "Backprop"),
            ("bioplaus.datasets", "digits"),
        )
    )  # fmt: skip
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    for command in (["--help"], ["--version"], ["bench", "--help"], ["list", "rules"]):
        done = subprocess.run([BIOPLAUS, *command], env=os.environ | {"PYTHONPATH": str(tmp_path)},
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "other 1.0 has a rule 'Backprop'" in done.stderr  # of the last
    assert "other 1.0 has a report 'csv', which is the name of one from bioplaus" in done.stderr


def test_a_report_that_raises_is_named_and_says_that_records_are_kept() -> None:
    class Sad(Report):
        name = "sad"

        def render(self, results: ResultSet, width: int | None = None) -> str:
            raise ZeroDivisionError("no rows")

    globals()["Sad"] = Sad
    registry.add(registry.Plugin("report", "sad", f"{__name__}:Sad", "sad 1.0"))
    with pytest.raises(PluginError, match=r"'sad' from sad 1.0 failed.*kept.*no rows \(line \d+"):
        rendered(ResultSet([make_record()]), "sad")


class SadLogger(Logger):
    name = "sad"
    where = "nowhere"

    def __init__(self, folder: Path) -> None:
        pass

    def record(self, record: object) -> None:
        raise OSError("disk full")


def test_a_logger_that_raises_costs_no_run(tmp_path: Path) -> None:
    registry.add(registry.Plugin("logger", "sad", f"{__name__}:SadLogger", "sad 1.0"))
    loggers = Loggers(["sad"], tmp_path)
    loggers.finish([make_record(), make_record(seed=1)])
    (line,) = loggers.problems
    assert "the logger 'sad' failed: OSError: disk full (line" in line


@pytest.mark.parametrize("name", ["with blank", "../evil", "con", "Backprop"])
def test_an_installed_rule_of_a_bad_name_is_listed_and_refused(name: str, site: Path) -> None:
    install(site, "bad_name", RULE, f"{name} = bad_name:Mine", "bioplaus.rules")
    assert len(registry.problems()) == 1
    assert registry.load("rule", "backprop").name == "backprop"
    if name != "Backprop":  # which is bioplaus's own, but for a letter
        with pytest.raises(PluginError, match="is no name for a rule"):
            registry.load("rule", name)
