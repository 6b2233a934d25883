"""The HTML page as text: complete, the same each time, escaped, and nothing from outside."""

from __future__ import annotations

import base64
import builtins
import gzip
import json
import re
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from bioplaus.cli import main
from bioplaus.errors import BioplausError
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from bioplaus.reports.html import packed
from tests.helpers.boards import make_cell
from tests.helpers.pages import HOSTILE, Reader, page_data, records, render, results
from tests.helpers.records import make_record

pytest.importorskip("jinja2", reason="the extra `report` is not installed")


@pytest.fixture(scope="module")
def page() -> str:
    return render(results())


def test_the_same_results_give_the_same_bytes(page: str) -> None:
    found = results()
    shuffled = ResultSet(found.records[::-1], found.tunings, found.damaged, found.failures)
    assert render(found) == page == render(shuffled)


def test_nothing_comes_from_outside(page: str) -> None:
    read = Reader(page)
    for tag, attrs in read.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "srcset", "action", "data"} & attrs.keys(), tag
        assert (attrs.get("href") or "#").startswith(("#", "https://arxiv.org/abs/")), attrs
    (policy,) = [m["content"] for m in read.named("meta") if "http-equiv" in m]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "unsafe-inline' 'sha" not in policy and "http" not in policy
    style = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    assert "url(" not in "".join(style) and "@import" not in "".join(style)


def test_everything_from_a_record_is_escaped() -> None:
    hostile = render(results(HOSTILE))
    calm, wild = Reader(render(results())), Reader(hostile)
    tags = [tag for tag, _ in wild.elements]
    assert tags.count("script") == [tag for tag, _ in calm.elements].count("script")
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attrs in wild.elements for name in attrs)
    assert wild.text.count("<script>alert(1)</script>") > 5, "shown as what it is"
    assert "{{7*7}}" in wild.text and "49" not in re.findall(r"\{\{.*?\}\}", wild.text)
    assert any(HOSTILE[:9] in str(row) for row in page_data(hostile)["seeds"])


def test_data_cannot_leave_its_script() -> None:
    text = packed({"a": HOSTILE})
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", text)
    assert json.loads(gzip.decompress(base64.b64decode(text))) == {"a": HOSTILE}
    with pytest.raises(ValueError):
        packed({"a": float("nan")})


def test_the_page_says_what_the_issue_asks_for(page: str) -> None:
    text = Reader(page).text
    for part in (
        "95.10", "good is ahead of every other rule", "2 trials of 1 seed, 3 epochs",
        "98.70", "Author 2020", "1 without a place", "torch 2.14", "tested: none",
        "raised", "skipped", "it broke", "Interquartile mean", "3.25", "counted",
        "On these 2 tasks nothing beats good.",
    ):  # fmt: skip
        assert part in text, part
    data = page_data(page)
    commands = [c[2] for c in data["configurations"].values()]
    assert "bioplaus run --rule good --task toy --seeds 0-4" in commands
    (other,) = data["others"]["board-1-table"]
    assert other[1][0] == "worse" and "set by hand: not ranked beside tuned" in other[1][1]
    assert "secret/path" not in page, "a command line may name private folders"


def test_future_broken_and_hostile_files_are_named(tmp_path: Any) -> None:
    store = Store(tmp_path)
    half, future, script, path, nan, *_ = paths = [store.write(r) for r in records()[:6]]
    texts = [p.read_text() for p in paths]
    half.write_text(texts[0][:200])
    future.write_text(texts[1].replace('"schema": 1', '"schema": 99'))
    script.write_text(
        texts[2].replace('"rule": "good",\n "schema', '"rule": "<script>",\n "schema')
    )
    path.write_text(texts[3].replace('"task": "toy",\n "test', '"task": "../toy",\n "test'))
    nan.write_text(re.sub(r'("test_accuracy": \[)[^]]*', r"\1NaN, NaN", texts[4]))
    found = store.read_all()
    assert [len(found.records), len(found.damaged)] == [1, 5], "the last is not what its curve says"
    text = Reader(render(found)).text
    for part in ("damaged (not JSON)", "schema 99", "(rule: ", "(task: ", "5 files could not"):
        assert part in text, part
    assert "nan" not in text.lower()


def test_doubts_are_on_the_page() -> None:
    """What the store doubts, or else copies, other sources and left-out seeds, by name."""
    learned = make_cell("a", [0.9, 0.91, 0.92])
    curves = learned[0].curves.model_copy(update={"metrics": {"loss": [0.5, 0.25]}})
    copied = [r.model_copy(update={"curves": curves}) for r in learned]
    short = make_cell("b", [0.9, 0.91], provenance={"seeds_together": [0, 1, 2]})
    sources = [r for h, first in (("a", 0), ("b", 5)) for r in make_cell(
        "c", [0.9, 0.91], first=first, provenance={"rule": {"sha256": h * 64}})]  # fmt: skip
    text = Reader(render(ResultSet([*copied, *short, *sources]))).text
    for part in ("seeds 0, 1, 2 learned alike to the last bit", "seed 2 trained with the others",
                 "rule source aaaaaaaaaaaaaaaa", "they are not averaged", "4 doubts"):  # fmt: skip
        assert part in text, part
    named = ResultSet(learned, doubts=["a on toy: the card of seed 1 is another"])
    assert "the card of seed 1 is another" in Reader(render(named)).text


def test_no_records_is_a_page_too() -> None:
    assert "There are no records." in Reader(render(ResultSet([]))).text


def test_without_numbers_there_are_dashes() -> None:
    blank = make_record(test=None, loss=None)
    gone = [make_record(rule="gone", seed=s, test=None, diverged=True) for s in (0, 1)]
    text = Reader(render(ResultSet([blank, *gone]))).text
    assert not re.search(r"\bnan\b", text.lower()) and "2 of 2" in text


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from bioplaus.reports import html

    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "jinja2":
            raise ImportError(name)
        return real(name, *args)

    html._template.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BioplausError, match=r"bioplaus\[report\]"):
        html._template()


def test_the_library_is_not_imported_before_it_is_used() -> None:
    import subprocess

    code = "import sys, bioplaus.reports.html as h; print('jinja2' in sys.modules, h.HtmlReport)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")


def test_hundreds_of_cells_stay_small() -> None:
    many = [
        make_record(task=f"task{t}", rule=f"rule{r:02d}", seed=s, test=0.5 + r / 100 + s / 1000,
                    cosines=[[0.5] * 50] * 4, epochs=50)
        for t in range(10) for r in range(20) for s in range(3)
    ]  # fmt: skip
    assert len(render(ResultSet(many))) < 2_000_000


def test_a_terminal_is_not_flooded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for record in records()[:2]:
        Store(tmp_path / "r").write(record)
    out = tmp_path / "board.html"
    arguments = ["report", "--results", str(tmp_path / "r"), "--format", "html"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(out)])
    assert done.exit_code == 0 and "Wrote" in done.stderr
    assert out.read_text().startswith("<!doctype html>")
    monkeypatch.setattr(sys.modules["bioplaus.cli.report"], "on_terminal", lambda: True)
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1 and "-o" in refused.stderr and "<html" not in refused.stdout
