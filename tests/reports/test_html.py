"""The HTML page as text: complete, the same each time, escaped, and nothing from outside."""

from __future__ import annotations

import builtins
import json
import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from click.testing import CliRunner

from bioplaus.analysis.boards import boards
from bioplaus.cli import main
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.records.schema import Cost, FailureRecord, Record, ResultSet, RuleCard, Tuning
from bioplaus.records.store import Store
from bioplaus.reports import cell_measures as measures
from bioplaus.reports.html import script_json
from tests.helpers.records import make_record

pytest.importorskip("plotly", reason="the extra `report` is not installed")
graph_objects = pytest.importorskip("plotly.graph_objects")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & {{7*7}} \u2028"
SCORES = {"good": [0.95, 0.96, 0.955, 0.94, 0.95], "worse": [0.91, 0.91, 0.905, 0.88, 0.90]}
COST = Cost(forward_equivalents=3.25, step_flops=1000, peak_bytes=3 * 2**20, peak_measured=False)


def records(hostile: str = "") -> list[Record]:
    """Two rules on two tasks, five seeds each; one seed diverged, one cell is a variant."""
    made = []
    for task in ("toy", "more"):
        for rule, scores in SCORES.items():
            for seed, score in enumerate(scores):
                cosines = [[0.5, 0.4 + seed / 100], [0.9, 1.0]]
                made.append(make_record(task=task, rule=rule, seed=seed, test=score,
                                        validation=score, cosines=cosines, card=card(hostile),
                                        cost=COST, provenance=provenance(hostile)))  # fmt: skip
    made.append(make_record(rule="worse", label=f"lr=1 {hostile}", seed=0, test=0.3))
    made.append(make_record(rule="worse", label=f"lr=1 {hostile}", seed=1, diverged=True))
    return made


def card(hostile: str = "") -> RuleCard:
    return RuleCard(
        summary=f"A rule. {hostile}",
        citation={"authors": "A. Author", "title": hostile, "year": 2020},
        plausibility={"weight_transport": "none", "local": True, "phases": f"two {hostile}"},
        tested={"weight_transport": f"none {hostile}"},
        published=[{"metric": f"toy test accuracy {hostile}", "value": 0.987,
                    "note": hostile, "source": f"Author 2020 {hostile}"}],
    )  # type: ignore[arg-type]  # fmt: skip


def provenance(hostile: str = "") -> dict[str, Any]:
    return {"device": f"cpu {hostile}", "command": ["secret/path"], "packages": {"torch": "2.14"}}


def results(hostile: str = "") -> ResultSet:
    made = records(hostile)
    cell = next(r.cell for r in made if (r.task, r.rule) == ("toy", "good"))
    tuning = Tuning(
        key="k" * 64, task="toy", rule="good", label=hostile,
        budget={"trials": 2, "seeds": 1, "epochs": 3}, space={"lr": f"log {hostile}"},
        trials=[
            {"number": 0, "settings": {}, "status": "complete", "validation_accuracy": 0.8,
             "seeds": [0.8]},
            {"number": 1, "settings": {"lr": 0.1}, "status": "failed",
             "validation_accuracy": None, "seeds": [], "reason": f"it broke {hostile}"},
        ],
        chosen={}, cell=cell, configuration={}, provenance={},
    )  # type: ignore[arg-type]  # fmt: skip
    failure = FailureRecord(cell="c" * 64, task="toy", rule="broken", label=hostile, seeds=[0],
                      reason=f"raised {hostile}", configuration={}, provenance={})  # fmt: skip
    return ResultSet(made, [tuning], [f"results/x.json: skipped {hostile}"], [failure])


def render(found: ResultSet) -> str:
    page: str = registry.load("report", "html")().render(found)
    return page


@pytest.fixture(scope="module")
def page() -> str:
    return render(results())


class Reader(HTMLParser):
    """Elements, their attributes, and text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def page_data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


def test_the_same_results_give_the_same_bytes(page: str) -> None:
    found = results()
    shuffled = ResultSet(found.records[::-1], found.tunings, found.damaged, found.failures)
    assert render(found) == page == render(shuffled)


def test_nothing_comes_from_outside(page: str) -> None:
    read = Reader(page)
    for tag, attrs in read.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "srcset", "action", "data"} & attrs.keys(), tag
        assert (attrs.get("href") or "#").startswith("#"), attrs
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


def test_json_cannot_leave_its_script() -> None:
    text = script_json({"a": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": HOSTILE}
    with pytest.raises(ValueError):
        script_json({"a": float("nan")})


def test_figures_are_what_plotly_takes(page: str) -> None:
    """Every trace and axis by plotly's own schema, which refuses what it does not know."""
    figures = page_data(page)["figures"]
    assert {name.partition("-")[0] for name in figures} == {
        "learning", "cost", "depth", "alignment", "profiles", "iqm",
    }  # fmt: skip
    for variants in figures.values():
        for variant in variants:
            assert variant["data"]
            graph_objects.Figure(data=variant["data"], layout=variant["layout"])


def test_learning_curves_hold_the_means(page: str) -> None:
    (variant,) = page_data(page)["figures"]["learning-1"]
    lines = {t["meta"]["rule"]: t for t in variant["data"] if "band" not in t["meta"]}
    assert lines["good"]["y"] == pytest.approx([95.1, 95.1])
    assert lines["good"]["x"] == [1, 2]


def test_the_page_says_what_the_issue_asks_for(page: str) -> None:
    text = Reader(page).text
    for part in (
        "95.10", "good is ahead of every other rule", "2 trials of 1 seed, 3 epochs",
        "98.70", "Author 2020", "1 diverged", "another configuration: not ranked",
        "bioplaus run --rule good --task toy --seeds 0-4", "torch 2.14", "tested: none",
        "raised", "skipped", "it broke", "Interquartile mean", "3.25", "counted",
    ):  # fmt: skip
        assert part in text, part
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
    assert [len(found.records), len(found.damaged)] == [2, 4]
    text = Reader(render(found)).text
    for part in ("damaged (not JSON)", "schema 99", "(rule: ", "(task: ", "4 files could not"):
        assert part in text, part
    assert "nan" not in text.lower()


def test_no_records_is_a_page_too() -> None:
    assert "There are no records." in Reader(render(ResultSet([]))).text


def test_without_numbers_there_are_dashes() -> None:
    blank = make_record(test=None, loss=None)
    gone = [make_record(rule="gone", seed=s, test=None, diverged=True) for s in (0, 1)]
    text = Reader(render(ResultSet([blank, *gone]))).text
    assert "nan" not in text.lower() and "0.00" in text


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from bioplaus.reports import html

    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] in ("plotly", "jinja2"):
            raise ImportError(name)
        return real(name, *args)

    html._plotly.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BioplausError, match=r"bioplaus\[report\]"):
        html._plotly()


def test_neither_library_is_imported_before_it_is_used() -> None:
    import subprocess

    code = "import sys, bioplaus.reports.html as h; print('plotly' in sys.modules, h.HtmlReport)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")


def test_the_command_reruns_the_cell() -> None:
    (board,) = boards(ResultSet([make_record(rule="good", seed=s) for s in (0, 1, 2, 7)]))
    (cell,) = board.cells
    assert measures.command(cell) == "bioplaus run --rule good --task toy --seeds 0-2,7"


def test_the_command_has_the_settings_and_is_safe_in_a_shell() -> None:
    record = make_record(rule="good", label="ortho=0.05 form=a;b optimizer.lr=0.1 epochs=3")
    configuration = {
        "options": {"ortho": 0.05, "form": "a; rm -rf $HOME", "other": 1},
        "optimizer": {"lr": 0.1, "name": "adam"},
        "epochs": 3,
        "precision": "fp64",
    }
    (board,) = boards(ResultSet([record.model_copy(update={"configuration": configuration})]))
    assert measures.command(board.cells[0]) == (
        "bioplaus run --rule good --task toy --seeds 0-0 --epochs 3 "
        "--set 'form=a; rm -rf $HOME' --set ortho=0.05 --set optimizer.lr=0.1 --precision fp64"
    )


def test_steps_to_a_target_by_hand() -> None:
    def seed(number: int, curve: list[float]) -> Record:
        record = make_record(seed=number)
        curves = record.curves.model_copy(update={"test_accuracy": curve})
        content = {"task": {"batch_size": 30}, "data": {"sizes": {"train": 1200}}}
        return record.model_copy(update={"curves": curves, "configuration": content})

    curves = [[0.5, 0.9, 0.95], [0.91, 0.8, 0.9], [0.1, 0.2, 0.3]]
    (board,) = boards(ResultSet([seed(i, c) for i, c in enumerate(curves)]))
    # 40 steps an epoch: after 2 epochs, after 1, never
    assert measures.steps_to(board.cells[0], 0.9) == (80.0, 2, 3)
    assert measures.steps_to(board.cells[0], 0.92) == (float("inf"), 1, 3)


def test_a_diverged_seed_stays_at_zero_in_its_curve() -> None:
    gone = make_record(seed=1, diverged=True)
    curves = gone.curves.model_copy(update={"test_accuracy": [0.6, None]})
    (board,) = boards(
        ResultSet([make_record(test=0.8), gone.model_copy(update={"curves": curves})])
    )
    assert measures.accuracy_curve(board.cells[0]).mean == pytest.approx([0.7, 0.4])


def test_hundreds_of_cells_stay_small() -> None:
    many = [
        make_record(task=f"task{t}", rule=f"rule{r:02d}", seed=s, test=0.5 + r / 100 + s / 1000,
                    cosines=[[0.5] * 50] * 4, epochs=50)
        for t in range(10) for r in range(20) for s in range(3)
    ]  # fmt: skip
    assert len(render(ResultSet(many))) < 6_000_000


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
