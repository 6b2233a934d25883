"""Executors of plugins that are none, or do not do what the contract says: one line, and whose."""

from __future__ import annotations

from pathlib import Path

import pytest

import bioplaus
from bioplaus.benchmark.executor import Setup
from bioplaus.benchmark.opened import open_executor
from bioplaus.errors import PluginError
from tests.helpers.strangers import install

EXECUTOR = """
from concurrent.futures import Future
from bioplaus.benchmark.executor import Executor, JobError


class Mine(Executor):
    name = "mine"

    {more}

    def submit(self, job, watch):
        future = Future()
        {submit}
        return future

    def close(self):
        {close}
"""
OPEN = "@classmethod\n    def open(cls, setup): "
WRONG = {
    "opens nothing": ({"more": OPEN + "pass"}, r"`open` returned None .*due is an Executor"),
    "opens a text": ({"more": OPEN + "return 'x'"}, r"`open` returned a str, due is an Executor"),
    "opens with an error": (
        {"more": OPEN + "raise OSError('no queue')"},
        r"`open` failed: OSError: no queue \(line 10 of ex_mine.py\)"),
    "no slots": (
        {"more": "def __init__(self, slots, device): pass"}, r"`slots` are None.*super\(\)"),
    "submits nothing": ({"submit": "return None"}, "`submit` returned None .*due is a concurrent"),
    "submits a number": ({"submit": "return 3"}, "`submit` returned a int, due is a concurrent"),
    "submits with an error": (
        {"submit": "1 / 0"}, r"`submit` failed: ZeroDivisionError.*line 1[0-9] of ex_mine.py"),
    "cancels": ({"submit": "future.cancel()"}, "the executor mine cancelled a job"),
    "an error of its own": (
        {"submit": "future.set_exception(KeyError('gone'))"}, "gave KeyError: .*JobError"),
    "closes with an error": (
        {"submit": "future.set_exception(JobError('no'))", "close": "1 / 0"},
        "`close` failed: ZeroDivisionError"),
    "no executor": ({"whole": "class Mine:\n    name = 'mine'\n"}, "derive its class from"),
}  # fmt: skip


def installed(folder: Path, parts: dict[str, str]) -> None:
    usual = {"more": "", "submit": "future.set_result(job.run(watch))", "close": "pass"}
    source = parts.get("whole") or EXECUTOR.format(**{**usual, **parts})
    install(folder, "ex_mine", source, "mine = ex_mine:Mine", "bioplaus.executors")


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_line(
    case: str, tiny: Path, tmp_path: Path, site: Path
) -> None:
    parts, says = WRONG[case]
    installed(site, parts)
    with pytest.raises(PluginError, match=says) as caught:
        bioplaus.tune(
            "backprop", str(tiny), trials=1, seeds=1, epochs=1, executor="mine",
            results=tmp_path / "r",
        )  # fmt: skip
    assert "\n" not in str(caught.value) and "mine" in str(caught.value)


def test_one_that_is_right_works(tiny: Path, tmp_path: Path, site: Path) -> None:
    installed(site, {})
    with open_executor("mine", Setup(jobs=1, device="cpu")) as executor:
        assert (executor.name, executor.slots, executor.device) == ("mine", 1, "cpu")
