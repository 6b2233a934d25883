"""Boards that one number tells apart: found, in order, and drawn where they are."""

from __future__ import annotations

import re

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.analysis.sweeps import sweeps
from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import Record, ResultSet
from tests.helpers.records import make_record


def record(rule: str, seed: int, test: float, field: str, value: float, **other: object) -> Record:
    task = {"dataset": "d", "batch_size": 50, field: value, **other}
    configuration = {"task": task, "data": {"checksums": {"train": "x"}, "sizes": {"train": value}},
                     "rule": rule, "epochs": 2, "precision": "fp32"}  # fmt: skip
    cell = digest(configuration)
    return make_record(rule=rule, seed=seed, test=test).model_copy(
        update={"configuration": configuration, "cell": cell, "key": seed_key(cell, seed)}
    )


def made(field: str, values: list[float]) -> list[Record]:
    return [
        record(rule, seed, 0.5 + 0.01 * place + 0.001 * seed, field, value)
        for place, value in enumerate(values)
        for rule in ("a", "b")
        for seed in (0, 1, 2)
    ]


@pytest.mark.parametrize("field", ["depth", "width", "batch_size", "train_examples", "label_noise"])
def test_a_sweep_is_found_in_the_order_of_its_values(field: str) -> None:
    (sweep,) = sweeps(boards(ResultSet(made(field, [32, 2, 8]))))
    assert (sweep.field, sweep.values) == (field, (2, 8, 32))
    line = sweep.accuracies()["a"]
    # the mean of 0.5 + 0.01 place + (0, 0.001, 0.002)
    assert [(v, round(mean, 6)) for v, mean, *_ in line] == [(2, 0.511), (8, 0.521), (32, 0.501)]


def test_what_differs_in_something_else_is_no_sweep() -> None:
    found = [*made("depth", [2, 4]), record("a", 0, 0.5, "depth", 8, loss="mse")]
    assert sweeps(boards(ResultSet(found))) == []
    assert sweeps(boards(ResultSet(made("depth", [2, 4])))) == [], "two points make no curve"


def test_boards_of_a_sweep_stand_in_its_order_under_short_names() -> None:
    titles = [b.title for b in boards(ResultSet(made("train_examples", [800, 50, 400])))]
    assert titles == [f"toy, task.train_examples={n}" for n in (50, 400, 800)]


def test_the_page_draws_it() -> None:
    jinja = pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    from bioplaus.plugins import registry

    assert jinja
    page = registry.load("report", "html")().render(ResultSet(made("depth", [2, 4, 8])))
    (figure,) = re.findall(r'<figure id="sweep-0".*?</figure>', page, flags=re.DOTALL)
    assert "accuracy over layers with weights" in figure
    assert figure.count('class="curve mark') == 2 and figure.count('class="mark fill') == 6
    left, top, width, height = (
        float(v)
        for v in re.search(
            r'class="frame" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', figure
        ).groups()  # type: ignore[union-attr]
    )
    for line in re.findall(r'class="curve mark[^"]*" d="M([^"]+)"', figure):
        for place in line.split("L"):
            x, y = map(float, place.split())
            assert left <= x <= left + width and top <= y <= top + height


def test_the_verdict_says_where_rules_part_from_the_reference() -> None:
    """Gaps of 40 and 9 points, and seeds that differ by 0.2: beyond any doubt, or none at all."""
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    from bioplaus.plugins import registry

    best = {"up": {2: 0.99}, "always": {2: 0.5, 4: 0.5, 8: 0.5}, "late": {4: 0.5, 8: 0.5}}
    wiggle = {"backprop": (0, 1, 2, 3, 4), "even": (4, 2, 3, 1, 0)}
    found = [
        record(rule, seed, best.get(rule, {}).get(depth, 0.9) + 5e-4 * w, "depth", depth)
        for rule in ("backprop", "up", "always", "late", "even")
        for depth in (2, 4, 8)
        for seed, w in enumerate(wiggle.get(rule, (2, 4, 0, 3, 1)))
    ]
    page = registry.load("report", "html")().render(ResultSet(found))
    (verdict,) = re.findall(r'id="verdict">(.*?)<', page)
    assert verdict == (
        "On toy, with 2 to 8 layers with weights, up beats backprop at 2; always is behind it "
        "throughout; late is behind it at 4 and 8; even is nowhere separated from it."
    )
    other = [record("backprop", seed, 0.8, "depth", 3, dataset="e") for seed in range(5)]
    page = registry.load("report", "html")().render(ResultSet([*found, *other]))
    (both,) = re.findall(r'id="verdict">(.*?)<', page)
    assert both.startswith(verdict) and both != verdict, "other boards have theirs"
