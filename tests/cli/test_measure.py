"""`bioplaus measure`: a table, files beside the records, and words for wrong use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bioplaus
from bioplaus.cli.measuring_display import MeasuringDisplay
from bioplaus.errors import ConfigError, RecordError, UnknownNameError
from tests.helpers.command import call
from tests.helpers.training import train

QUICK = ("--set", "examples=40", "--set", "k=[1,2]", "--set", "queries=5", "--set", "draws=1")
SETTINGS = {"examples": 40, "k": [1, 2], "queries": 5, "draws": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.tiny import TINY

    folder = tmp_path_factory.mktemp("measure")
    (folder / "tiny.toml").write_text(TINY)
    train(folder / "tiny.toml", folder / "r", "backprop", "sign-symmetry", compile="off",
          save_weights=True)  # fmt: skip
    return folder / "r"


def test_a_table_comes_out_and_the_page_has_a_section(results: Path, tmp_path: Path) -> None:
    done = call("measure", "robustness", "--results", str(results), *QUICK)
    assert done.exit_code == 0, done.output
    for words in ("tiny: robustness", "clean %", "robust %, over k", "backprop", "sign-symmetry"):
        assert words in done.stdout
    assert len(list(results.rglob("axis-robustness-*.json"))) == 4
    again = call("measure", "robustness", "--results", str(results), *QUICK)
    assert again.stdout == done.stdout
    assert "4 measurements of 4 already in" in again.stderr
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    page = tmp_path / "b.html"
    made = call("report", "--results", str(results), "--format", "html", "-o", str(page))
    assert made.exit_code == 0, made.output
    text = page.read_text()
    assert '<section id="axis-robustness"' in text
    assert "robust over k" in text


def test_only_a_rule(results: Path) -> None:
    done = call("measure", "robustness", "--results", str(results), "--rule", "backprop", *QUICK)
    assert "backprop" in done.stdout and "sign-symmetry" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["measure", "robustnes"], "'robustness'"),
        (["measure", "robustness", "--set", "kk=3"], "unknown setting of robustness 'kk'"),
        (["measure", "robustness", "--set", "k=much"], "k:"),
        (["measure", "robustness", "--rule", "nobody"], "no records in"),
        (["measure", "robustness", "--device", "cudda"], "unknown device"),
    ],
)
def test_wrong_use_is_one_line(results: Path, arguments: list[str], said: str) -> None:
    done = call(*arguments, "--results", str(results))
    assert done.exit_code != 0
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = call("measure", "robustness", "--results", str(tmp_path / "none"))
    assert done.exit_code == 1 and "there is no results folder" in done.stderr


def test_axes_are_listed_and_shown() -> None:
    assert "robustness" in call("list", "axes").stdout
    shown = call("show", "robustness").stdout
    assert "k = (1, 2, 4, 8)  (tuple[int, ...])" in shown
    assert "sparse attacks" in shown


def test_from_python(results: Path) -> None:
    frame = bioplaus.measure("robustness", results, rule="backprop", settings=SETTINGS)
    assert list(frame.columns) == [
        "task", "rule", "config", "seed", "measure", "over", "at", "value", "cell",
    ]  # fmt: skip
    robust = frame[frame.measure == "robust"]
    assert sorted(robust["at"].unique()) == [1.0, 2.0] and len(robust) == 4
    assert frame["value"].between(0, 1).all()
    assert frame.attrs["problems"] == []
    with pytest.raises(UnknownNameError, match="axis 'robustnes'; did you mean robustness"):
        bioplaus.measure("robustnes", results)
    with pytest.raises(ConfigError, match="settings are a dict"):
        bioplaus.measure("robustness", results, settings=["k"])  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=r"no records of rule nobody in .*: backprop on tiny, s"):
        bioplaus.measure("robustness", results, rule="nobody")


def test_nothing_that_could_be_measured_is_no_empty_frame(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(results, folder)
    for path in folder.rglob("*.pt"):
        path.write_bytes(b"no weights")
    with pytest.raises(RecordError, match=r"none of 4 records .* measured: backprop on tiny, seed"):
        bioplaus.measure("calibration", folder)


def test_how_long_it_will_take() -> None:
    now = [0.0]
    display = MeasuringDisplay("robustness", 10, clock=lambda: now[0])
    assert display.left(0.5) == ""  # too early to tell
    now[0] = 60.0
    assert display.left(0.1) == ""
    assert display.left(5.0) == "about 60 s left"
    assert display.left(10.0) == ""
