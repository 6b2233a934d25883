"""A rule from a file: it runs, its record says so, and a broken file is one clear line."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from bioplaus.benchmark.jobs import CellJob
from bioplaus.errors import PluginError
from bioplaus.experiments.experiment import plan
from bioplaus.plugins.from_file import add_rules
from tests.helpers.command import call

REPOSITORY = Path(__file__).parents[2]


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("seed-*.json"))]


def test_a_rule_from_a_file_runs_and_its_record_says_so(
    file: Path, tiny: Path, tmp_path: Path
) -> None:
    run = ["run", "--plugin", str(file), "--task", str(tiny), "--seeds", "1",
           "--results", str(tmp_path / "r")]  # fmt: skip
    done = call(*run)
    assert done.exit_code == 0, done.output
    (record,) = records(tmp_path / "r")
    checksum = sha256(file.read_bytes()).hexdigest()
    assert record["rule"] == "my-rule"
    assert record["label"] == f"file=bioplaus_my_rule.py@{checksum[:8]}"
    provenance = record["provenance"]
    assert isinstance(provenance, dict)
    assert provenance["rule"]["source"] == str(file)
    assert provenance["rule"]["sha256"] == checksum
    again = call(*run)
    assert "1 record of 1 already in" in again.stderr
    # an edited file is another rule: nothing old is taken for its result
    file.write_text(file.read_text().replace("(l, d) / 2", "(l, d) / 3"))
    changed = call(*run)
    assert "already in" not in changed.stderr
    assert len(records(tmp_path / "r")) == 2


def test_the_record_of_an_installed_rule_names_its_source(tiny: Path, tmp_path: Path) -> None:
    done = call("run", "--rule", "backprop", "--task", str(tiny), "--seeds", "1",
                "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 0, done.output
    (record,) = records(tmp_path / "r")
    provenance = record["provenance"]
    assert isinstance(provenance, dict)
    module = REPOSITORY / "rules" / "backprop.py"
    assert provenance["rule"]["target"] == "bioplaus.rules.backprop:Backprop"
    assert provenance["rule"]["sha256"] == sha256(module.read_bytes()).hexdigest()
    assert "rule_sha256" not in record["configuration"]  # type: ignore[operator]


def test_check_prints_a_verdict_and_its_exit_status(file: Path) -> None:
    good = call("check", "--plugin", str(file), "--only", "purity", "--only", "direction")
    assert good.exit_code == 0, good.output
    assert "# my-rule: passed" in good.stdout and "2 passed, 0 failed" in good.stdout
    text = file.read_text()
    file.write_text(text.replace("(fwd, transport)", "(fwd._replace(error=-fwd.error), transport)"))
    bad = call("check", "my-rule", "--plugin", str(file), "--only", "direction")
    assert bad.exit_code == 1
    assert "# my-rule: failed" in bad.stdout and "Hint: updates are in gradient sign" in bad.stdout
    unknown = call("check", "backprop", "--only", "puritty")
    assert unknown.exit_code == 1
    assert "unknown check 'puritty'; did you mean purity" in unknown.stderr


BROKEN: list[tuple[str, Callable[[str], str], str]] = [
    (
        "syntax.py",
        lambda text: text + "\ndef (",
        r"does not run: SyntaxError: .*\(line \d+ of syntax.py\)",
    ),
    (
        "missing.py",
        lambda text: "import no_such_thing\n",
        r"No module named .*\(line 1 of missing.py\)",
    ),
    ("empty.py", lambda text: "", "defines no learning rule: derive a class from"),
    ("plugin.txt", lambda text: text, "is not a Python file"),
    ("taken.py", lambda text: text.replace('"my-rule"', '"backprop"'), "choose another name"),
    ("lacking.py", lambda text: text.replace("def deltas", "def delta"), "lacks deltas: define it"),
    ("twice.py", lambda text: text + "\n\nclass Other(MyRule):\n    pass\n", "two rules called"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN, ids=lambda v: str(v)[:12])
def test_a_broken_file_is_one_clear_line(
    file: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    from bioplaus.plugins.from_file import add_rules

    broken = file.parent / name
    broken.write_text(change(file.read_text()))
    with pytest.raises(PluginError, match=message) as caught:
        add_rules(str(broken))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = call("run", "--plugin", str(tmp_path / "nowhere.py"))
    assert done.exit_code == 1
    assert "cannot read the plugin file" in done.stderr and "nowhere.py" in done.stderr


SUITE = """
name = "mine"
rules = ["backprop", "my-rule"]
tasks = ["{task}"]
seeds = 2
epochs = 1
"""


def test_a_suite_takes_a_rule_from_a_file_into_its_workers(
    file: Path, tiny: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(task=tiny))
    refused = call("bench", str(suite))
    assert refused.exit_code == 1 and "unknown rule 'my-rule'" in refused.output
    done = call("bench", str(suite), "--plugin", str(file), "--jobs", "1",
                "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 0, done.output
    found = [r for r in records(tmp_path / "r") if r["rule"] == "my-rule"]
    alone = call("run", "--plugin", str(file), "--task", str(tiny), "--seeds", "2",
                 "--epochs", "1", "--results", str(tmp_path / "s"))  # fmt: skip
    assert alone.exit_code == 0, alone.output
    assert len(found) == 2
    for bench, run in zip(found, records(tmp_path / "s"), strict=True):
        assert {**bench, "timing": 0, "provenance": 0} == {**run, "timing": 0, "provenance": 0}
        assert bench["provenance"]["rule"] == run["provenance"]["rule"]  # type: ignore[index]


def test_a_tuning_takes_a_rule_from_a_file(file: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    done = call("tune", "--rule", "my-rule", "--plugin", str(file), "--task", str(tiny),
                "--trials", "2", "--epochs", "1", "--jobs", "1",
                "--results", str(tmp_path / "r"))  # fmt: skip
    assert done.exit_code == 0, done.output
    (tuning,) = (tmp_path / "r").rglob("tuning-*.json")
    trials = json.loads(tuning.read_text())["trials"]
    assert [t["status"] for t in trials] == ["complete"] * 2


UNPICKLE = """
import pickle, sys
job = pickle.load(sys.stdin.buffer)
from bioplaus.plugins import registry
print(job.title, registry.find("rule", "my-rule").checksum)
print(registry.load("rule", "my-rule") is type(job.experiment.rule))
"""


def test_a_job_brings_its_file_as_it_was(file: Path, tiny: Path) -> None:
    """Where it arrives there need be no such file; what it says by then is of no account."""
    add_rules(str(file))
    checksum = sha256(file.read_bytes()).hexdigest()
    (experiment,) = plan(["my-rule"], str(tiny))
    sent = pickle.dumps(CellJob(experiment, (0,), "cpu"))
    file.write_text("raise SystemExit('another file by now')")
    done = subprocess.run([sys.executable, "-c", UNPICKLE], input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["my-rule", "on", "tiny", checksum, "True"]
    file.unlink()
    done = subprocess.run([sys.executable, "-c", UNPICKLE], input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
