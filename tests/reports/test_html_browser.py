"""The HTML page in a real browser: it sorts, filters, draws, downloads and asks for nothing."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bioplaus.plugins import registry
from bioplaus.records.schema import ResultSet
from tests.helpers.pages import HOSTILE, records, results
from tests.helpers.records import make_record

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install -e '.[tests]'"
)
pytest.importorskip("plotly", reason="the extra `report` is not installed")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")

DRAWN = "[...document.querySelectorAll('.plot')].every((e) => e.dataset.drawn === 'true')"
TABLE = "#board-1-table"
"""The second board: `toy`, with a configuration that is not ranked."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        made = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Visit:
    """One page, opened, with all it asked for and complained of."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.on("console", self._heard)
        self.page.goto(file.as_uri())

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def see_all(self) -> None:
        """Scroll every figure into view and wait until it is drawn."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
        self.wait_until(DRAWN)

    def wait_until(self, condition: str) -> None:
        """Ask again and again; the page's own policy forbids a script that asks from within."""
        deadline = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(50)

    def column(self, index: int, table: str = TABLE) -> list[str]:
        """What the visible rows show first in a column."""
        rows = self.page.locator(f"{table} tbody tr:visible").all()
        return [row.locator("th, td").nth(index).inner_text().split("\n")[0] for row in rows]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page"), results())


def write(folder: Path, found: ResultSet) -> Path:
    path = folder / "board.html"
    path.write_text(registry.load("report", "html")().render(found), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def visit(browser: Any, file: Path) -> Iterator[Visit]:
    made = Visit(browser, file)
    made.see_all()
    yield made
    made.context.close()


def test_every_figure_is_drawn(visit: Visit) -> None:
    plots = visit.page.locator(".plot").all()
    assert len(plots) == 2 + 2 * 4
    for plot in plots:
        assert plot.locator("svg .scatterlayer .trace").count() >= 2, plot.get_attribute("id")
        assert plot.locator("svg .xtick text, svg .ytick text").count() >= 4


def test_it_asks_for_nothing_and_complains_of_nothing(visit: Visit, file: Path) -> None:
    assert visit.requests[0] == file.as_uri()
    assert all(url.startswith("blob:") for url in visit.requests[1:]), visit.requests
    assert visit.complaints == []


def test_headings_sort(visit: Visit) -> None:
    heading = visit.page.locator(f"{TABLE} thead th", has_text="Test accuracy")
    assert visit.column(2) == ["95.10", "90.10", "15.00"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert visit.column(2) == ["95.10", "90.10", "15.00"]
    heading.locator("button").focus()
    visit.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert visit.column(2) == ["15.00", "90.10", "95.10"]
    rank = visit.page.locator(f"{TABLE} thead th", has_text="Rank")
    rank.locator("button").click()
    assert visit.column(0) == ["1", "2", "-"]
    rank.locator("button").click()
    assert visit.column(0) == ["2", "1", "-"], "what is unknown stays last"
    assert heading.get_attribute("aria-sort") == "none"
    rank.locator("button").click()


def test_the_filter_hides_rows(visit: Visit) -> None:
    box = visit.page.locator(".table", has=visit.page.locator(TABLE))
    box.locator(".filter").fill("worse lr=1")
    assert visit.column(1) == ["worse"]
    assert box.locator(".shown").inner_text() == "1 of 3 rows"
    box.locator(".filter").fill("")
    assert len(visit.column(1)) == 3


def test_a_table_downloads(visit: Visit, tmp_path: Path) -> None:
    box = visit.page.locator(".table", has=visit.page.locator(TABLE))
    with visit.page.expect_download() as waiting:
        box.locator(".csv").click()
    assert waiting.value.suggested_filename == "leaderboard-of-toy.csv"
    path = tmp_path / "table.csv"
    waiting.value.save_as(path)
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert [r["Rule"] for r in rows] == ["good", "worse", "worse"]
    assert [float(r["Test accuracy (%)"]) for r in rows] == pytest.approx([0.951, 0.901, 0.15])
    assert rows[0]["Run it again"].startswith("bioplaus run --rule good")


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
    group = visit.page.locator("#board-1-plots")
    curves = group.locator("#learning-1 svg .scatterlayer .trace")
    shown = curves.count()
    chip = group.locator(".chip", has_text="worse")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    visit.wait_until(
        f"document.querySelectorAll('#learning-1 .scatterlayer .trace').length === {shown // 2}"
    )
    chip.focus()
    visit.page.keyboard.press("Space")
    visit.wait_until(
        f"document.querySelectorAll('#learning-1 .scatterlayer .trace').length === {shown}"
    )


def test_the_cost_is_the_readers_choice(visit: Visit) -> None:
    title = visit.page.locator("#cost-1 .xtitle")
    assert title.text_content() == "seconds of training for a seed"
    visit.page.locator("select[data-for=cost-1]").select_option(label="peak memory")
    visit.wait_until(
        "document.querySelector('#cost-1 .xtitle').textContent === 'peak memory (MiB)'"
    )
    ticks = visit.page.locator("#cost-1 .xtick text").all_text_contents()
    assert "3" in ticks, "where the rules are: 3 MiB"


def test_figures_follow_the_theme(visit: Visit) -> None:
    ink = "getComputedStyle(document.querySelector('#learning-1 .xtick text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    button = visit.page.locator("#theme")
    seen = set()
    for name in ("light", "dark", "auto"):
        button.click()
        assert button.inner_text() == f"Theme: {name}"
        visit.page.wait_for_timeout(200)
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
    box = phone.page.locator(".scroll").first
    assert box.evaluate("(b) => b.scrollWidth > b.clientWidth"), "tables scroll in their boxes"
    assert phone.complaints == []
    phone.context.close()


def test_a_link_opens_the_configuration(visit: Visit) -> None:
    link = visit.page.locator(f"{TABLE} tbody a", has_text="good").first
    link.click()
    where = link.get_attribute("href")
    assert where and visit.page.locator(f"[id='{where[1:]}']").get_attribute("open") is not None


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
    assert all(url.startswith(("file:", "blob:")) for url in hostile.requests)
    assert hostile.page.locator("img").count() == 0
    ticks = hostile.page.locator("#depth-1 .xtick text, #depth-1 .xtick2 text").all_text_contents()
    assert any("<b></script>" in t for t in ticks), ticks
    hostile.context.close()


def test_the_policy_stops_what_gets_through(visit: Visit) -> None:
    """Even a script in the page could not run, nor anything be fetched."""
    page = visit.context.new_page()
    page.goto(visit.page.url.partition("#")[0])
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
        "document.body.append(s) }"
    )
    assert page.evaluate("window.ran") is None
    refused = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    page.close()
