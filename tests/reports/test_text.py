"""The reports: numbers against arithmetic by hand, and text that no label can break."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Sequence

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from bioplaus.analysis.report import Report
from bioplaus.plugins import registry
from bioplaus.records.schema import Record, ResultSet
from bioplaus.reports.summary import summarise
from tests.helpers.boards import make_cell
from tests.helpers.records import make_record

COLUMNS = (
    "task,rule,config,seeds,diverged,test_accuracy,test_accuracy_std,validation_accuracy,"
    "validation_accuracy_std,train_loss,train_seconds,alignment,epochs,cell,metric,test_score,"
    "test_score_std,validation_score,validation_score_std,spikes,synaptic_operations,"
    "forgetting,backward_transfer"
)
HOSTILE = [
    "a|b",
    "x_y & 50%",
    "[red]",
    "[/]",
    r"back\slash\|",
    "*_`$#~^{}<b>!&amp;",
    'say "hi", twice',
]

FOUR = [
    make_record(seed=0, test=0.90, validation=0.80, loss=0.1, seconds=1, cosines=[[0, 0.2], [0.4]]),
    make_record(
        seed=1, test=0.92, validation=0.84, loss=0.2, seconds=2, cosines=[[0.6], [1, None]]
    ),
    make_record(seed=2, test=0.97, validation=0.88, loss=0.6, seconds=6, cosines=[[0.8], [1.0]]),
    make_record(
        seed=3, test=0.10, validation=0.11, loss=9.0, seconds=9, cosines=[[-1.0]], diverged=True
    ),
]
"""Three sound seeds and one that diverged."""


TEXT_FORMATS = [n for n in registry.names("report") if registry.load("report", n).for_terminals]


def report(name: str) -> Report:
    plugin = registry.load("report", name)
    made = plugin()
    assert isinstance(made, Report)
    return made


def render(name: str, records: Sequence[Record], width: int | None = None) -> str:
    return report(name).render(ResultSet(records), width)


def hostile_records() -> list[Record]:
    return [make_record(label=label, seed=seed) for label in HOSTILE for seed in (0, 1)]


def test_numbers_by_hand() -> None:
    frame = summarise(FOUR)
    assert ",".join(frame.columns) == COLUMNS
    (row,) = frame.to_dict("records")
    assert (row["task"], row["rule"], row["config"]) == ("toy", "backprop", "")
    assert (row["seeds"], row["diverged"], row["epochs"]) == (4, 1, 2)
    assert row["cell"] == FOUR[0].cell[:16]
    # 2.79 / 3; deviations -0.03, -0.01, 0.04: 0.0026 / (3 - 1)
    assert row["test_accuracy"] == pytest.approx(0.93, rel=1e-12)
    assert row["test_accuracy_std"] == pytest.approx(math.sqrt(0.0013), rel=1e-12)
    # deviations -0.04, 0, 0.04: 0.0032 / 2
    assert row["validation_accuracy"] == pytest.approx(0.84, rel=1e-12)
    assert row["validation_accuracy_std"] == pytest.approx(0.04, rel=1e-12)
    assert row["train_loss"] == pytest.approx(0.3, rel=1e-12)
    assert row["train_seconds"] == 3.0
    # last epochs of the layer below the top: 0.2, 0.6, 0.8; the top's 0.4, none, 1.0 do not count
    assert row["alignment"] == pytest.approx(1.6 / 3, rel=1e-12)


def test_the_same_numbers_for_people() -> None:
    text = render("markdown", FOUR)
    assert "## toy" in text
    assert "| backprop | 3 of 4 (1 diverged) | 93.00 ± 3.61 | 84.00 ± 4.00 | 3.00 | 0.533 |" in text
    assert "Configuration" not in text, "no record has a label"


def test_one_seed_has_no_deviation() -> None:
    (row,) = json.loads(render("json", [make_record(test=0.9846, validation=0.5)]))
    assert row["test_accuracy"] == 0.9846
    assert row["test_accuracy_std"] is None and row["validation_accuracy_std"] is None
    assert row["alignment"] is None
    assert "| 1 | 98.46 | 50.00 | 2.00 |" in render(
        "markdown", [make_record(test=0.9846, validation=0.5)]
    )


def test_one_sound_seed_of_two_has_no_deviation() -> None:
    (row,) = json.loads(render("json", [FOUR[0], FOUR[3]]))
    assert (row["seeds"], row["diverged"], row["test_accuracy"]) == (2, 1, 0.9)
    assert row["test_accuracy_std"] is None


def test_all_diverged_has_counts_and_no_numbers() -> None:
    gone = [make_record(seed=s, diverged=True, validation=0.1) for s in (0, 1)]
    (row,) = json.loads(render("json", gone))
    assert (row["seeds"], row["diverged"], row["epochs"]) == (2, 2, 2)
    assert [row[name] for name in COLUMNS.split(",")[5:12]] == [None] * 7
    assert "0 of 2 (2 diverged)" in render("markdown", gone)


def test_a_mean_is_never_over_fewer_seeds_than_stated() -> None:
    (row,) = json.loads(render("json", [make_record(), make_record(seed=1, test=None)]))
    assert (row["test_accuracy"], row["train_loss"]) == (None, 0.25)


def test_rows_are_sorted_and_cells_stay_apart() -> None:
    gone = make_record(task="t1", rule="aaa", diverged=True)
    low = make_record(task="t1", rule="bbb", test=0.2)
    high = make_record(task="t1", rule="ccc", test=0.9)
    tie = make_record(task="t1", rule="ccc", label="z", test=0.2)
    twins = [make_record(task="t0", label="lr=1", options={"v": v}, test=0.1) for v in (1, 2)]
    frame = summarise([gone, low, high, tie, *twins])
    assert frame["rule"].tolist() == ["backprop", "backprop", "ccc", "bbb", "ccc", "aaa"]
    assert frame["seeds"].tolist() == [1] * 6
    assert set(frame["cell"][:2]) == {r.cell[:16] for r in twins}
    for name in ("markdown", "latex", "table"):
        text = render(name, twins)
        shown = re.sub(r"[\\{}]", "", text)
        assert all(f"lr=1 (options.v={v})" in shown for v in (1, 2)), "by what they differ in"


def test_a_layer_that_does_not_move_is_not_left_out_of_the_alignment() -> None:
    dead = make_record(cosines=[[None], [None], [0.9], [1.0]], epochs=1)
    (row,) = json.loads(render("json", [dead]))
    assert row["alignment"] == pytest.approx(0.3), "of three layers below the top"


def test_other_networks_under_one_name_have_a_table_each() -> None:
    twins = [r for u in (8, 16) for r in make_cell("a", [0.5, 0.6], task_content={"units": u})]
    text = render("markdown", twins)
    assert "## toy, task.units=8" in text and "## toy, task.units=16" in text


def test_records_of_another_source_of_a_rule_are_a_row_of_their_own() -> None:
    sources = [
        make_record(seed=s, test=t, provenance={"rule": {"sha256": h * 64}})
        for s, t, h in ((0, 0.9, "a"), (1, 0.5, "b"))
    ]
    rows = json.loads(render("json", sources))
    assert [r["test_accuracy"] for r in rows] == [0.9, 0.5]
    text = render("table", sources)
    assert "rule source aaaaaaaa" in text and "rule source bbbbbbbb" in text


@pytest.mark.parametrize("name", registry.names("report"))
def test_order_does_not_matter(name: str) -> None:
    twins = [make_record(label="same", options={"v": v}, test=0.93) for v in (1, 2)]
    records = [*FOUR, *twins]
    orders = [records[i:] + records[:i] for i in range(len(records))]
    orders += [order[::-1] for order in orders]
    assert len({render(name, order) for order in orders}) == 1


@pytest.mark.parametrize("name", TEXT_FORMATS)
@pytest.mark.parametrize("width", [None, 1, 80, 300])
@pytest.mark.parametrize(
    "records",
    [FOUR, FOUR[3:], FOUR[:1], [], hostile_records()],
    ids=["normal", "all diverged", "single", "none", "hostile"],
)
def test_every_report_renders(name: str, width: int | None, records: Sequence[Record]) -> None:
    text = render(name, records, width)
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert "\x1b" not in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("name", ["markdown", "latex", "table"])
def test_control_characters_never_reach_a_terminal(name: str) -> None:
    text = render(name, [make_record(label="a\x1b[31m\rb\nc\x00\u202e")])
    assert not set("\x1b\r\x00\u202e") & set(text)
    assert "b c" in text


def test_csv_reads_back() -> None:
    records = [
        *hostile_records(),
        *FOUR,
        make_record(label="two\r\nlines"),
        make_record(label="a\rb"),
    ]
    text = render("csv", records)
    assert text.startswith(COLUMNS + "\n")
    expected = summarise(records)
    header, *body = csv.reader(io.StringIO(text, newline=""))
    assert header == list(expected.columns)
    assert [row[2] for row in body] == expected["config"].tolist()
    accuracies = [float(row[5]) for row in body]
    assert accuracies == expected["test_accuracy"].tolist(), "exact, not rounded"
    assert [row[15] for row in body] == [row[5] for row in body], "the score is the accuracy here"
    types = {"task": str, "rule": str, "config": str, "cell": str}
    frame = pd.read_csv(io.StringIO(text, newline=""), dtype=types)
    frame["config"] = frame["config"].fillna("")
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, rtol=1e-12)


def test_json_has_every_column() -> None:
    rows = json.loads(render("json", [*FOUR, make_record(task="other")]))
    assert [",".join(row) for row in rows] == [COLUMNS, COLUMNS]
    assert [row["task"] for row in rows] == ["other", "toy"]


def markdown_cells(text: str) -> list[str]:
    """What a reader of the rendered tables sees, cell by cell."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells = [b for a, b in itertools.pairwise(tokens) if a.type in ("td_open", "th_open")]
    assert all(part.type == "text" for cell in cells for part in cell.children or [])
    return ["".join(part.content for part in cell.children or []) for cell in cells]


def test_markdown_shows_labels_as_they_are() -> None:
    text = render("markdown", hostile_records())
    columns = 5  # rule, configuration, seeds, test accuracy, seconds
    cells = markdown_cells(text)
    assert len(cells) == columns * (1 + len(HOSTILE))
    assert sorted(cells[1::columns]) == sorted(["Configuration", *HOSTILE])
    assert r"a\|b" in text and r"x\_y \& 50%" in text and r"\[red\]" in text


def test_latex_escapes_labels() -> None:
    text = render("latex", [*hostile_records(), make_record(label="--x", task="my_task")])
    expected = [
        r"a\textbar{}b",
        r"x\_y \& 50\%",
        r"[red]",
        r"back\textbackslash{}slash\textbackslash{}\textbar{}",
        r"*\_\textasciigrave{}\$\#\textasciitilde{}\textasciicircum{}\{\}"
        r"\textless{}b\textgreater{}!\&amp;",
        r"say \char34{}hi\char34{}, twice",
    ]
    rows = [line for line in text.splitlines() if line.startswith("    backprop")]
    assert all(row.replace(r"\&", "").count("&") == 4 and row.endswith(r" \\") for row in rows)
    for label in expected:
        assert any(f"backprop & {label} & 2 & " in row for row in rows), label
    assert r"-{}-x" in text
    assert r"\caption{my\_task." in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2


@pytest.mark.parametrize("width", [80, 100, 120, None])
def test_the_table_truncates_nothing(width: int | None) -> None:
    label = "gamma=0.001, lambda_orthogonality=0.1, activation=leaky_relu, [red]"
    names = ["backprop", "predictive-coding", "feedback-alignment", "gaitprop"]
    records = [
        make_record(rule=name, seed=seed, label=label, test=0.9836 + 0.001 * seed, **changes)
        for name in names
        for seed, changes in enumerate([{}, {}, {}, {"diverged": True}])
        for changes in [{"validation": 0.5, "cosines": [[0.25]], **changes}]
    ]
    text = render("table", records, width)
    lines = text.splitlines()
    assert lines[0] == "toy"
    assert max(map(cell_len, lines)) <= (width or 120)
    for name in names:
        (line,) = [line for line in lines if line.startswith(name)]
        assert all(part in line for part in ("3 of 4", "98.46 ± 0.10", "50.00 ± 0.00", "0.250"))
    assert text.count("1 diverged") == len(names)
    for option in label.split():
        assert text.count(option) == len(names)
    assert "…" not in text


def test_the_table_breaks_a_word_that_is_too_long() -> None:
    label, rule = "x" * 150, "y" * 80
    text = render("table", [make_record(label=label, rule=rule)], 80)
    assert text.count("x") == len(label) and text.count("y") == len(rule) + "toy".count("y")


def test_the_table_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render("table", FOUR)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "30", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert render("table", FOUR) == before


@pytest.mark.parametrize("name", ["csv", "html", "json", "latex", "markdown", "table"])
def test_listings_have_a_line_for_each_report(name: str) -> None:
    summary = registry.plugins("report")[name].summary()
    assert summary and not summary.startswith("(broken") and len(summary) <= 80
