"""What can be seen of every figure, in a browser: marks inside of axes that hold the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioplaus.records.schema import Cost, Record, ResultSet, RuleCard
from tests.helpers.boards import drawn, make_cell
from tests.helpers.browser import Visit, chromium, write

MEANS = {"backprop": 0.975, "near": 0.972, "plain": 0.955, "far": 0.35, "lossy": 0.98}
PROFILES = {"backprop": ("transpose", False), "near": ("none", True), "plain": ("none", True),
            "far": ("sign", True), "lossy": ("none", True)}  # fmt: skip
TASKS = ("one", "two")

INSIDE = """() => [...document.querySelectorAll('.plot svg')].map((svg) => {
  const frame = svg.querySelector('.frame')?.getBoundingClientRect();
  const box = (e) => e.getBoundingClientRect();
  const out = [...svg.querySelectorAll('.mark, .arrow, .bar, .band')].filter((e) => {
    const b = box(e);
    return frame && (b.left < frame.left - 6 || b.right > frame.right + 6
                     || b.top < frame.top - 6 || b.bottom > frame.bottom + 6);
  });
  return { id: svg.closest('figure').id, marks: svg.querySelectorAll('.mark').length,
           squares: svg.querySelectorAll('.square').length,
           ticks: svg.querySelectorAll('.tick').length, framed: Boolean(frame),
           out: out.map((e) => e.outerHTML.slice(0, 120)),
           arrows: [...svg.querySelectorAll('.arrow title')].map((t) => t.textContent) };
})"""


def field_of(tasks: tuple[str, ...] = TASKS) -> list[Record]:
    """Five rules; one far below the others, one that loses a seed, one that trains one task."""
    rng = np.random.default_rng(3)
    made: list[Record] = []
    for task in tasks:
        for rule, mean in MEANS.items():
            if rule == "plain" and task == "two":
                continue
            scores: list[float | None] = [*drawn(rng, mean, 0.004)]
            if rule == "lossy":
                scores[4] = None
            transport, local = PROFILES[rule]
            card = RuleCard(
                summary="A rule.", tested={"weight_transport": "none"} if local else {},
                citation={"authors": "A. Author and B. Author", "title": "A rule", "year": 2020,
                          "identifier": "arXiv:2006.06438"},
                plausibility={"weight_transport": transport, "local": local,
                              "update_locking": True, "signed_errors": "yes"},
            )  # fmt: skip
            cost = Cost(forward_equivalents=3 * (2 + len(rule)), step_flops=1, peak_bytes=2**20,
                        peak_measured=False)  # fmt: skip
            cosines = [[0.1 * len(rule), 0.08 * len(rule)], [0.9, 0.8], [1.0, 1.0]]
            made += make_cell(rule, scores, task=task, card=card, cost=cost, cosines=cosines)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("figures"), ResultSet(field_of()))


@pytest.fixture(scope="module")
def visit(browser: Any, page: Path) -> Visit:
    made = Visit(browser, page, viewport={"width": 1440, "height": 900})
    made.see_all()
    return made


def test_every_mark_lies_inside_its_axes(visit: Visit) -> None:
    found = visit.page.evaluate(INSIDE)
    kinds = {f["id"].rpartition("-")[0] or f["id"] for f in found}
    assert kinds >= {"seeds", "learning", "cost-time", "cost-operations", "depth", "alignment",
                     "forest", "matrix", "critical", "profiles", "iqm", "plausibility",
                     "cost"} - {"plausibility", "cost"}  # fmt: skip
    for figure in found:
        assert figure["marks"] or figure["squares"], f"{figure['id']} shows nothing"
        assert figure["ticks"] >= 4, figure["id"]
        assert figure["out"] == [], figure["id"]


def test_axes_hold_the_data(visit: Visit) -> None:
    """Every seed has a mark, none an arrow; the learning curves show every rule."""
    found = {f["id"]: f for f in visit.page.evaluate(INSIDE)}
    assert found["seeds-0"]["marks"] == 24, "25 seeds, one of which diverged"
    assert found["seeds-0"]["arrows"] == [] and found["learning-0"]["arrows"] == []
    curves = visit.page.locator("#learning-0 .curve").count()
    assert curves == 5
    spread = visit.page.evaluate("""() => {
      const frame = document.querySelector('#profiles .frame').getBoundingClientRect();
      return [...document.querySelectorAll('#profiles .curve')].map((e) => {
        const b = e.getBoundingClientRect();
        return [b.width / frame.width, b.height / frame.height];
      });
    }""")
    assert all(wide > 0.6 for wide, _ in spread) and max(high for _, high in spread) > 0.8


def test_marks_stand_where_their_numbers_are(visit: Visit) -> None:
    """The ticks of the forest plot give its scale; the marks must agree with it."""
    numbers = visit.page.evaluate("""() => {
      const svg = document.querySelector('#forest svg');
      const x = (e) => { const b = e.getBoundingClientRect(); return (b.left + b.right) / 2; };
      const found = [...svg.querySelectorAll('.tick:not(.y)')];
      const ticks = found.map((t) => [Number(t.textContent), x(t)]);
      const marks = [...svg.querySelectorAll('.mark')].map((m) => [m.textContent, x(m)]);
      return { ticks, marks };
    }""")
    (v0, x0), *_, (v1, x1) = numbers["ticks"]
    for words, x in numbers["marks"]:
        value = float(words.split(": ")[1].split(" ")[0])
        assert v0 + (x - x0) * (v1 - v0) / (x1 - x0) == pytest.approx(value, abs=0.06), words
    assert len(numbers["marks"]) >= 3


def test_what_lies_beyond_an_axis_has_an_arrow_that_says_so(visit: Visit) -> None:
    found = {f["id"]: f for f in visit.page.evaluate(INSIDE)}
    (words,) = found["forest"]["arrows"]
    assert words.startswith("far: -6") and "beyond the axis" in words
    for name in ("plausibility-figure", "cost-figure"):
        caption = visit.page.locator(f"#{name} figcaption").inner_text()
        assert "Arrows lie off the scale: far -6" in caption, "its label may find no room"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_the_first_screen_answers(browser: Any, page: Path, width: int, height: int) -> None:
    """Verdict, badges, difference, interval, p, cost and dots; nothing cut."""
    seen = Visit(browser, page, viewport={"width": width, "height": height})
    inside = f"(e) => e.getBoundingClientRect().bottom < {height}"
    verdict = seen.page.locator("#verdict")
    assert verdict.inner_text().startswith("On these 2 tasks nothing beats backprop;")
    assert "lossy loses 20 % of the seeds" in verdict.inner_text()
    assert verdict.evaluate(inside)
    row = seen.page.locator("[id='overview--near']")
    assert row.evaluate(inside)
    assert row.locator(".badge.plausible").is_visible()
    for name in ("Points above backprop", "p", "Cost", "Plausibility"):
        assert row.locator(f"td[data-name='{name}']").is_visible(), name
    assert row.locator(".dots circle").count() == 5, "five of seven are known"
    assert " to " in row.locator("td.difference small").inner_text()
    assert seen.page.locator("#overview-table .badge.reference").evaluate(inside)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    cut = seen.page.locator("#overview .scroll").first.evaluate(
        "(b) => b.scrollWidth > b.clientWidth"
    )
    # what is hidden has a hint, once the page has looked at its own size
    seen.page.locator("#overview .more").wait_for(state="visible" if cut else "hidden")
    assert not cut or width == 1024
    assert seen.complaints == []
    seen.context.close()


def test_every_rule_is_in_the_overview(visit: Visit) -> None:
    rows = visit.page.locator("#overview-table tbody tr").all_inner_texts()
    assert {r.split("\t")[1].split("\n")[0].split(" ")[0].strip() for r in rows} == set(MEANS)
    (partly,) = [r for r in rows if "plain" in r]
    assert "1 of 2 tasks" in partly


def test_who_loses_seeds_is_not_on_top(visit: Visit) -> None:
    order = visit.page.locator("#overview-table tbody th a").all_inner_texts()
    assert order.index("lossy") > order.index("plain")
    assert "2 of 10" in visit.page.locator("[id='overview--lossy']").inner_text()


def test_measured_beats_declared(visit: Visit) -> None:
    """`far` declares that it needs signs, and was measured to need nothing."""
    cell = visit.page.locator("[id='plausibility--far'] td").first
    assert cell.inner_text().startswith("none")
    assert "declared: sign; measured: none" in cell.inner_text()
    assert cell.locator(".badge.contradicted").is_visible()


def test_papers_are_linked_and_can_be_cited(visit: Visit) -> None:
    paper = visit.page.locator("[id='paper--near']")
    assert paper.locator("a").get_attribute("href") == "https://arxiv.org/abs/2006.06438"
    paper.locator("summary").click()
    assert "author = {A. Author and B. Author}" in paper.locator("pre").inner_text()


def lab(rgb: tuple[float, float, float], sight: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as seen through a matrix on linear light."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    seen = np.clip(sight @ np.array(linear), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                       [0.0193, 0.1192, 0.9505]])  # fmt: skip
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116
         for v in (to_xyz @ seen) / (0.9505, 1.0, 1.089)]  # fmt: skip
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SIGHTS = {
    "full": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip
"""Machado, Oliveira and Fernandes (2009), IEEE TVCG 15, 1291-1298, at full severity."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_told_apart_by_all(visit: Visit, theme: str) -> None:
    read = f"""() => {{
      document.documentElement.dataset.theme = '{theme}';
      const style = getComputedStyle(document.documentElement);
      return [...Array(7).keys()].map((i) => style.getPropertyValue(`--c${{i}}`).trim());
    }}"""
    colours = [
        tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in visit.page.evaluate(read)
    ]
    for name, sight in SIGHTS.items():
        seen = [lab(c, sight) for c in colours]  # type: ignore[arg-type]
        nearest = min(math.dist(a, b) for i, a in enumerate(seen) for b in seen[:i])
        assert nearest >= 10, (name, nearest)


def test_keys_lead_through_the_page(visit: Visit) -> None:
    """A skip link first; one stop for all switches of a group."""
    stops: Any = visit.page.evaluate("""() =>
      document.querySelectorAll('#overview .chip:not([tabindex="-1"])').length""")
    assert stops == 1
    assert visit.page.locator("a.skip").get_attribute("href") == "#main"
