"""Claims on the page: their status is what the shown records say, and nothing typed."""

from __future__ import annotations

import pytest

from bioplaus.analysis.ledger import read_ledger
from bioplaus.records.schema import Record, ResultSet
from bioplaus.reports.claims_section import claims_section
from tests.helpers.pages import Reader, page_data, render
from tests.helpers.records import make_record

pytest.importorskip("jinja2", reason="the extra `report` is not installed")

BACKPROP = [0.981, 0.982, 0.983, 0.984, 0.985]


def pair(shift: float) -> list[Record]:
    """The abstract's two rules on its task, with the same seeds and about the same difference."""
    each = [shift + 1e-4 * d for d in (-1, 1, 0, 1, -1)]
    return [
        make_record(task="mnist-square", rule=rule, seed=seed, test=accuracy + add)
        for rule, adds in (("backprop", [0.0] * 5), ("gaitprop", each))
        for seed, (accuracy, add) in enumerate(zip(BACKPROP, adds, strict=True))
    ]


def statuses(records: list[Record]) -> dict[str, str]:
    """Claim -> status, of GAIT-prop's."""
    found = claims_section(records, {"gaitprop"})
    assert found is not None
    return {line.entries[2].text: line.entries[0].text for line in found.table.lines}


@pytest.mark.parametrize(
    ("shift", "status"), [(0.001, "reproduced"), (-0.02, "refuted"), (None, "not run")]
)
def test_the_status_follows_from_the_records(shift: float | None, status: str) -> None:
    """A margin of half a point: a tenth is within it, two points are not."""
    records = pair(shift) if shift is not None else []
    assert {s for says, s in statuses(records).items() if "near-identically" in says} == {status}


def test_the_page_has_the_claims_of_its_rules_alone() -> None:
    page = render(ResultSet(pair(0.001)))
    ids = [attrs.get("id") for _, attrs in Reader(page).elements]
    assert "claims" in ids
    rows = page_data(page)["tables"]["claims-table"]
    known = [claim for claim in read_ledger()[0] if claim.rule in ("gaitprop", "backprop")]
    assert len(rows) == 1 + len(known)
    assert {row[1] for row in rows[1:]} == {claim.rule for claim in known}
    text = Reader(page).text
    assert f"Of {len(known)} claims about these rules 1 reproduced" in text
    for claim in known:
        assert claim.source in text and claim.identifier in text


def test_rules_without_claims_have_no_section() -> None:
    records = [make_record(rule="mine", seed=seed) for seed in range(2)]
    assert claims_section(records, {"mine"}) is None
    assert 'id="claims"' not in render(ResultSet(records))
