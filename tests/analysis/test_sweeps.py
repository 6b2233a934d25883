"""Boards that one number tells apart: found, in order, and drawn where they are."""

from __future__ import annotations

import re

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.analysis.sweeps import sweeps
from bioplaus.records.schema import Record, ResultSet, digest, seed_key
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
