"""A real browser for tests of the page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bioplaus.plugins import registry
from bioplaus.records.schema import ResultSet

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium, without a window; the test is skipped where it or playwright is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -e '.[tests]'"
    )
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    if not CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium")
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
        """Scroll every figure into view."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()

    def wait_until(self, condition: str) -> None:
        """Ask again and again; the page's own policy forbids a script that asks from within."""
        deadline = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(50)

    def column(self, index: int, table: str = "#board-1-table") -> list[str]:
        """What the visible rows show first in a column."""
        rows = self.page.locator(f"{table} tbody tr:visible").all()
        first = "(e) => e.childNodes[0].textContent"
        return [row.locator("th, td").nth(index).evaluate(first) for row in rows]


def write(folder: Path, found: ResultSet) -> Path:
    """The page of these results, in a file."""
    path = folder / "board.html"
    path.write_text(registry.load("report", "html")().render(found), encoding="utf-8")
    return path
