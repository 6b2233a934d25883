"""The HTML page in a real browser: it sorts, filters, draws, downloads and asks for nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bioplaus.records.schema import ResultSet
from tests.helpers.browser import Visit, chromium, write
from tests.helpers.pages import HOSTILE, records, results
from tests.helpers.records import make_record


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


TABLE = "#board-1-table"
"""The second board: `toy`, with a configuration that is not ranked."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page"), results())


@pytest.fixture(scope="module")
def visit(browser: Any, file: Path) -> Iterator[Visit]:
    made = Visit(browser, file)
    made.see_all()
    yield made
    made.context.close()


def test_it_asks_for_nothing_and_complains_of_nothing(visit: Visit, file: Path) -> None:
    assert visit.requests == [file.as_uri()]
    assert visit.complaints == []


def test_headings_sort(visit: Visit) -> None:
    heading = visit.page.locator(f"{TABLE} thead th", has_text="Test accuracy")
    assert visit.column(2) == ["95.10", "90.10"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert visit.column(2) == ["95.10", "90.10"]
    heading.locator("button").focus()
    visit.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert visit.column(2) == ["90.10", "95.10"]
    rank = visit.page.locator(f"{TABLE} thead th", has_text="Rank")
    rank.locator("button").click()
    assert visit.column(0) == ["1", "2"]
    rank.locator("button").click()
    assert visit.column(0) == ["2", "1"]
    assert heading.get_attribute("aria-sort") == "none"
    rank.locator("button").click()


def test_the_filter_hides_rows_and_stays_in_the_address(visit: Visit, browser: Any) -> None:
    box = visit.page.locator(".table", has=visit.page.locator(TABLE))
    box.locator(".filter").fill("worse")
    assert visit.column(1) == ["worse"]
    assert box.locator(".shown").inner_text() == "1 of 2 rows"
    assert "q.board-1=worse" in visit.page.url
    again = visit.context.new_page()
    again.goto(visit.page.url)
    assert again.locator(f"{TABLE} tbody tr:visible").count() == 1, "as whoever gets the link sees"
    again.close()
    box.locator(".filter").fill("")
    assert len(visit.column(1)) == 2 and "q.board" not in visit.page.url


def test_columns_are_chosen(visit: Visit) -> None:
    box = visit.page.locator(".table", has=visit.page.locator(TABLE))
    box.locator(".columns summary").click()
    box.get_by_label("Diverged").uncheck()
    assert not visit.page.locator(f"{TABLE} thead th", has_text="Diverged").is_visible()
    assert "hide.board-1=3" in visit.page.url
    box.get_by_label("Diverged").check()
    box.locator(".columns summary").click()
    assert visit.page.locator(f"{TABLE} thead th", has_text="Diverged").is_visible()


def test_what_has_no_place_is_drawn_when_it_is_opened(visit: Visit) -> None:
    others = visit.page.locator("details.others[data-table='board-1-table']")
    assert others.locator("tr").count() == 0
    others.locator("summary").click()
    visit.wait_until("document.querySelectorAll('.others tbody tr').length === 1")
    assert "set by hand" in others.locator("tbody").inner_text()
    assert visit.page.locator(f"{TABLE} tbody tr").count() == 2, "never among the ranked"
    others.locator("summary").click()


def test_a_table_downloads(visit: Visit, tmp_path: Path) -> None:
    box = visit.page.locator(".table", has=visit.page.locator(TABLE))
    with visit.page.expect_download() as waiting:
        box.locator(".csv").click()
    assert waiting.value.suggested_filename == "leaderboard-of-toy.csv"
    path = tmp_path / "table.csv"
    waiting.value.save_as(path)
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert [r["rule"] for r in rows] == ["good", "worse", "worse"]
    assert [float(r["test_accuracy"]) for r in rows] == pytest.approx([0.951, 0.901, 0.3])
    assert float(rows[0]["test_accuracy_low"]) < 0.951 < float(rows[0]["test_accuracy_high"])
    assert [(r["rank_first"], r["rank_last"]) for r in rows] == [("1", "1"), ("2", "2"), ("", "")]
    assert [(r["diverged"], r["seeds"]) for r in rows] == [("0", "5"), ("0", "5"), ("1", "2")]
    assert rows[0]["command"].startswith("bioplaus run --rule good")
    assert "e+300" not in path.read_text()


def test_seeds_and_curves_download(visit: Visit, tmp_path: Path) -> None:
    found = {}
    for key in ("seeds", "curves"):
        with visit.page.expect_download() as waiting:
            visit.page.locator(f"[data-key={key}]").click()
        waiting.value.save_as(tmp_path / key)
        found[key] = list(csv.DictReader((tmp_path / key).open(newline="", encoding="utf-8")))
    made = {(r.task, r.rule, r.label, r.seed): r.test_accuracy for r in records()}
    read = {(r["board"], r["rule"], r["config"], int(r["seed"])): float(r["test_accuracy"])
            for r in found["seeds"]}  # fmt: skip
    assert read == made
    assert len(found["curves"]) == 4 * 2, "four ranked cells, two epochs each"


def test_chips_switch_rules_on_and_off(visit: Visit) -> None:
    group = visit.page.locator("[id='task-toy-plots']")
    curve = group.locator("#learning-1 g[data-rule=worse]")
    assert curve.is_visible()
    chip = group.locator(".chip", has_text="worse")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false" and not curve.is_visible()
    chip.focus()
    visit.page.keyboard.press("Space")
    assert curve.is_visible()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.evaluate("document.activeElement.dataset.rule") == "good", "one stop, arrows"


def test_figures_follow_the_theme(visit: Visit) -> None:
    ink = "getComputedStyle(document.querySelector('#learning-1 .curve')).stroke"
    paper = "getComputedStyle(document.body).backgroundColor"
    button = visit.page.locator("#theme")
    seen = set()
    for name in ("light", "dark", "auto"):
        button.click()
        assert button.inner_text() == f"Theme: {name}"
        seen.add((visit.page.evaluate(ink), visit.page.evaluate(paper)))
    assert len({text for text, _ in seen}) == len({paper for _, paper in seen}) == 2


def test_dark_where_the_system_is(browser: Any, file: Path) -> None:
    dark = Visit(browser, file, color_scheme="dark")
    red, green, blue = dark.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 64
    dark.context.close()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_down_and_not_across(browser: Any, file: Path, width: int) -> None:
    phone = Visit(browser, file, viewport={"width": width, "height": 700}, has_touch=True)
    phone.see_all()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= width
    box = phone.page.locator(f".scroll:has({TABLE})")
    assert box.evaluate("(b) => b.scrollWidth > b.clientWidth"), "tables scroll in their boxes"
    assert phone.complaints == []
    phone.context.close()


def test_a_link_opens_the_configuration(visit: Visit) -> None:
    visit.page.locator(f"{TABLE} tbody a", has_text="good").first.click()
    visit.wait_until("document.querySelector('dialog').open")
    dialog = visit.page.locator("dialog")
    assert "bioplaus run --rule good --task toy --seeds 0-4" in dialog.inner_text()
    address = visit.page.url
    dialog.locator(".close").click()
    assert not dialog.is_visible()
    again = visit.context.new_page()
    again.goto(address)
    again.wait_for_selector("dialog[open]")
    again.close()


def test_hostile_records_do_nothing(browser: Any, tmp_path: Path) -> None:
    found = results(HOSTILE)
    record = make_record(rule="layers", task="toy")
    layers = {f"cosine.<b>{HOSTILE}": [0.5, 0.5]}
    curves = record.curves.model_copy(update={"alignment": {"loss": layers}})
    odd = record.model_copy(update={"curves": curves})
    hostile = Visit(browser, write(tmp_path, ResultSet([*found.records, odd], found.tunings,
                                                       found.damaged, found.failures)))  # fmt: skip
    hostile.see_all()
    assert hostile.complaints == []
    assert all(url.startswith("file:") for url in hostile.requests)
    assert hostile.page.locator("img").count() == 0
    ticks = hostile.page.locator("#depth-1 .tick").all_text_contents()
    assert any("<b></script>" in t for t in ticks), ticks
    hostile.context.close()


def test_the_policy_stops_what_gets_through(visit: Visit) -> None:
    """Even a script in the page could not run, nor anything be fetched."""
    page = visit.context.new_page()
    page.goto(visit.page.url.partition("#")[0].partition("?")[0])
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
        "document.body.append(s) }"
    )
    assert page.evaluate("window.ran") is None
    refused = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    page.close()
