"""`bioplaus verify`: whatever is named is run again, judged, and kept as a signed-off file."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.errors import RecordError
from bioplaus.records.keys import digest
from bioplaus.records.reading import read_record
from bioplaus.records.store import Store
from bioplaus.records.verification import read_verification
from bioplaus.running.verify import verify
from tests.helpers.forged import Content, contents, each, first, forge
from tests.helpers.tiny import TINY

RULE = """
from bioplaus.rules.backprop import Backprop


class Twin(Backprop):
    name = "verified"
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations of two seeds, and a tuning."""
    folder = tmp_path_factory.mktemp("verify")
    tiny = folder / "tiny.toml"
    tiny.write_text(TINY.replace("epochs = 2", "epochs = 1"))
    where = ["--rule", "backprop", "--results", folder / "r"]
    for more in ([], ["--set", "optimizer.lr=3e-3"]):
        assert call("run", "--task", tiny, "--seeds", 2, *more, *where).exit_code == 0
    tuned = call("tune", "--task", tiny, "--trials", 3, "--epochs", 1, "--jobs", 1, *where)
    assert tuned.exit_code == 0, tuned.output
    return folder / "r"


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(made, tmp_path / "r"))


def test_a_folder_and_what_is_written_on_it(mine: Path) -> None:
    done = call("verify", mine)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("Reproduces to the last bit") == 5
    found = read_verification(mine / "verification.json")
    assert [f.result for f in found.files] == ["to the last bit"] * 5
    for entry in found.files:
        path = mine / entry.file
        assert entry.sha256 == sha256(path.read_bytes()).hexdigest()
        assert found.reproduced(path) == entry
        assert {"device", "packages", "threads"} <= entry.machine.keys() and "T" in entry.date
        assert entry.seeds == ([] if path.name.startswith("tuning-") else [0, 1])
    assert Store(mine).read_all().damaged == [], "a report does not mind it"
    edited = mine / found.files[0].file
    edited.write_text(edited.read_text() + " ")
    assert found.reproduced(edited) is None, "another file by now"


def test_the_board_shows_what_was_run_again(mine: Path) -> None:
    assert "reproduced:" not in call("report", "--format", "html", "--results", mine).stdout
    assert call("verify", *sorted(mine.glob("tiny/backprop/*/seed-0000.json"))).exit_code == 0
    results = Store(mine).read_all()
    again = {r.key for r in results.records if r.seed == 0}
    assert results.reproduced.keys() == again, "each record that was named, and no other"
    assert all(words.startswith("to the last bit, 20") for words in results.reproduced.values())
    page = call("report", "--format", "html", "--results", mine).stdout
    assert page.count("<small>reproduced: 1 of 2</small>") == 1, "the row that has a place"
    first = next(iter(sorted(mine.glob("tiny/backprop/*/seed-0000.json"))))
    first.write_text(first.read_text() + " ")
    assert len(Store(mine).read_all().reproduced) == 1, "another file by now"
    (mine / "verification.json").write_text("{")
    broken = Store(mine).read_all()
    assert not broken.reproduced and "verification.json" in broken.damaged[0]


def test_the_documented_glob_with_two_configurations(mine: Path) -> None:
    files = sorted(mine.glob("tiny/backprop/*/seed-0000.json"))
    assert len(files) == 2
    done = call("verify", *files)
    assert done.exit_code == 0 and done.stdout.count("Reproduces to the last bit") == 2
    unexpanded = call("verify", mine / "tiny" / "backprop" / "*" / "seed-0000.json")
    assert unexpanded.exit_code == 0 and unexpanded.stdout == done.stdout


def test_a_sample_draws_so_many_configurations(mine: Path) -> None:
    done = call("verify", mine, "--sample", 2)
    assert done.exit_code == 0 and "Drawn: 2 files" in done.stderr
    files = [entry.file for entry in read_verification(mine / "verification.json").files]
    assert len({Path(f).parent if "seed" in f else f for f in files}) == len(files) == 2
    assert "Drawn: 3 files" in call("verify", mine, "--sample", 50, "--alone").stderr


def test_a_rule_from_a_file(tmp_path: Path) -> None:
    rule, tiny = tmp_path / "rule.py", tmp_path / "tiny.toml"
    rule.write_text(RULE)
    tiny.write_text(TINY)
    where = ["--task", tiny, "--seeds", 1, "--epochs", 1, "--results", tmp_path / "r"]
    assert call("run", "--plugin", rule, *where).exit_code == 0
    done = call("verify", tmp_path / "r", "--plugin", rule)
    assert done.exit_code == 0 and "to the last bit" in done.stdout


def better(content: Content) -> None:
    right = round(360 * content["test_accuracy"]) + 90
    content["test_accuracy"] = content["curves"]["test_accuracy"][-1] = right / 360


def renamed(content: Content) -> None:
    content["rule"] = content["configuration"]["rule"] = "sign-symmetry"
    content["configuration"]["options"] = {"magnitude": "uniform"}


def hidden(content: Content) -> None:
    """A setting that the label keeps to itself, on a built-in task."""
    content["label"] = ""


CAUGHT = {
    "better in curve and result": (each(better), "test_accuracy was"),
    "an edited card": (each(lambda c: c["card"].update(summary="The best.")), "the card is not"),
    "fewer operations": (
        each(lambda c: c["cost"].update(step_flops=1)), "the step's operations were 1"),
    "the best seed as seeds 5 and 6": (
        first(lambda c: c.update(seed=5) or c["provenance"].update(seeds_together=[5, 6])),
        "train_loss was"),
}  # fmt: skip


@pytest.mark.parametrize("what", CAUGHT)
def test_a_forgery_that_is_consistent_is_caught(made: Path, tmp_path: Path, what: str) -> None:
    change, reason = CAUGHT[what]
    paths = forge(made, tmp_path / "forged", change)
    assert not Store(tmp_path / "forged").read_all().damaged
    done = call("verify", paths[0])
    assert done.exit_code == 1, done.output
    assert reason in done.stdout and done.stderr.splitlines()[-1].endswith("does not reproduce")
    (entry,) = read_verification(tmp_path / "forged" / "verification.json").files
    assert entry.result == "differs"


def test_seeds_that_do_not_hold_the_records_own_are_an_error(mine: Path) -> None:
    record = read_record(next(mine.rglob("seed-0001.json")))
    origin = record.provenance | {"seeds_together": [5, 6]}
    forged = record.model_copy(update={"provenance": origin})
    with pytest.raises(RecordError, match="seed 1 is not among those"):
        verify(forged)


def test_a_hidden_setting_is_caught(tmp_path: Path) -> None:
    where = ["--rule", "backprop", "--seeds", 1, "--epochs", 1, "--results", tmp_path / "r"]
    assert call("run", "--set", "optimizer.lr=0.01", *where).exit_code == 0
    (path,) = forge(tmp_path / "r", tmp_path / "forged", each(hidden))
    done = call("verify", path)
    assert done.exit_code == 1
    assert "the label was '', is 'optimizer.lr=0.01 epochs=1'" in done.stdout


def test_a_tuning_with_a_better_trial_is_caught(mine: Path) -> None:
    (path,) = mine.rglob("tuning-*.json")
    content = json.loads(path.read_text())
    best = max(content["trials"], key=lambda t: t["validation_accuracy"])
    best |= {"validation_accuracy": 1.0, "seeds": [1.0]}
    path.write_text(json.dumps(content))
    done = call("verify", path)
    assert done.exit_code == 1
    assert f"trial {best['number']}, seed 0: validation was 1.0000" in done.stdout


def test_a_tuning_on_other_data_is_not_run(mine: Path) -> None:
    (path,) = mine.rglob("tuning-*.json")
    content = json.loads(path.read_text())
    content["configuration"]["data"]["checksums"]["train"] = "0" * 64
    content["key"] = digest(content["configuration"])
    moved = path.with_name(f"tuning-{content['key'][:16]}.json")
    moved.write_text(json.dumps(content))
    done = call("verify", moved)
    assert done.exit_code == 1 and "nothing was run" in done.stderr
    assert not (mine / "verification.json").exists()


def test_somebody_elses_file_of_that_name_stays(mine: Path) -> None:
    file = mine / "verification.json"
    for text in ("notes", '{"schema": 2, "files": []}', '{"schema": 1, "colour": "red"}'):
        file.write_text(text)
        path = next(mine.rglob("seed-0000.json"))
        done = call("verify", path, "--alone")
        assert done.exit_code == 0 and "stays as it is" in done.stderr
        assert file.read_text() == text
    done = call("verify", path, "--alone", "-o", mine.parent / "mine.json")
    assert done.exit_code == 0 and len(read_verification(mine.parent / "mine.json").files) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_alone(mine: Path) -> None:
    mine.chmod(0o500)
    done = call("verify", next(mine.rglob("seed-0000.json")), "--alone")
    assert done.exit_code == 0 and "Warning: cannot write" in done.stderr


def test_what_cannot_be_named(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, reason in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path / "empty", "there is no record in it"),
        (tmp_path / "no*thing", "there is no record in it"),
    ):
        done = call("verify", path)
        assert done.exit_code == 1 and reason in done.stderr and str(path) in done.stderr
    assert contents(mine)
