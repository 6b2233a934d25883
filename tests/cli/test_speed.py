"""`bioplaus speed`: for programs, as a table and a picture, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command import call


def test_json_is_for_programs(tiny: Path) -> None:
    done = call("speed", "--rule", "backprop", "--task", str(tiny), "--replicas", "1,2",
                "--compile", "off", "--format", "json")  # fmt: skip
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert [row["replicas"] for row in content["rows"]] == [1, 2]
    assert content["precision"] == "fp32"


def test_the_table_and_the_picture(tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "speed.svg"
    done = call("speed", "--rule", "backprop", "--task", str(tiny), "--replicas", "1",
                "--compile", "off", "--plot", str(picture))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tiny" in done.stdout and "x eager" in done.stdout
    assert picture.read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "gaitpropp"], "did you mean gaitprop"),
        (["--rule", "backprop", "--replicas", "0"], "give numbers such as 1,4,16"),
        (["--rule", "backprop", "--plot", "x.gif"], ".svg, .png, .pdf"),
        (["--rule", "backprop", "--plot", "no/such/x.svg"], "there is no folder"),
        (["--rule", "backprop", "--precision", "tf32", "--device", "cpu"], "CUDA"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    done = call("speed", *arguments)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output
