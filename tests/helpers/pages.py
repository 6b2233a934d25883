"""Results that try to break a page, and reading pages."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

from bioplaus.plugins import registry
from bioplaus.records.schema import (
    Cost,
    FailureRecord,
    Record,
    ResultSet,
    RuleCard,
    Tuning,
    TuningBudget,
)
from tests.helpers.boards import tuned
from tests.helpers.records import make_record

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & {{7*7}} \u2028"
SCORES = {"good": [0.95, 0.96, 0.955, 0.94, 0.95], "worse": [0.91, 0.91, 0.905, 0.88, 0.90]}
BUDGET = {"trials": 2, "seeds": 1, "epochs": 3}
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
        tested={"weight_transport": f"none {hostile}".strip()},
        published=[{"metric": f"toy test accuracy {hostile}", "value": 0.987,
                    "note": hostile, "source": f"Author 2020 {hostile}"}],
    )  # type: ignore[arg-type]  # fmt: skip


def provenance(hostile: str = "") -> dict[str, Any]:
    return {"device": f"cpu {hostile}", "command": ["secret/path"], "packages": {"torch": "2.14"}}


def results(hostile: str = "") -> ResultSet:
    made = records(hostile)
    cell = next(r.cell for r in made if (r.task, r.rule) == ("toy", "good"))
    worse = next(r for r in made if (r.task, r.rule, r.label) == ("toy", "worse", ""))
    other = tuned([worse], 2).model_copy(update={"budget": TuningBudget(**BUDGET)})
    tuning = Tuning(
        key="k" * 64, task="toy", rule="good", label=hostile,
        budget=BUDGET, space={"lr": f"log {hostile}"},
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
    return ResultSet(made, [tuning, other], [f"results/x.json: skipped {hostile}"], [failure])


def render(found: ResultSet) -> str:
    page: str = registry.load("report", "html")().render(found)
    return page


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
    found = re.search(r'<script type="text/plain" id="page-data">(.*?)</script>', page)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))
