"""Cells and boards made by hand, and boards drawn at random whose truth is known."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from bioplaus.analysis.boards import Board, boards
from bioplaus.analysis.ranking import difference
from bioplaus.analysis.statistics import holm, rank_intervals
from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import Record, ResultSet, Tuning
from tests.helpers.records import make_record

GOOD = [0.95, 0.96, 0.955, 0.94, 0.95]
WORSE = [0.91, 0.91, 0.905, 0.88, 0.90]
SPREADS = (0.0065, 0.0028, 0.0046, 0.0036, 0.0070, 0.0103, 0.0194, 0.0181, 0.0119, 0.0087)
"""Standard deviations over seeds in docs/results/digits.md."""
TEST_EXAMPLES = 360
"""The digits' test split: accuracies are multiples of 1/360."""


def make_cell(
    rule: str,
    scores: Sequence[float | None],
    first: int = 0,
    epochs: int = 10,
    task_content: dict[str, Any] | None = None,
    **changes: Any,
) -> list[Record]:
    """One record per score, None for a seed that diverged, configured as a run writes it."""
    made = []
    for seed, score in enumerate(scores, first):
        gone = {"diverged": True, "test": 0.1} if score is None else {"test": score}
        record = make_record(rule=rule, seed=seed, **(gone | changes))
        content = {
            **record.configuration,
            "task": task_content or {"loss": "mse"},
            "epochs": epochs,
            "data": {"sizes": {"test": TEST_EXAMPLES, "train": 1200, "validation": 237}},
        }
        key = digest(content)
        update = {"configuration": content, "cell": key, "key": seed_key(key, seed)}
        made.append(record.model_copy(update=update))
    return made


def tuned(records: Sequence[Record], trials: int = 6) -> Tuning:
    """A tuning that chose what these records ran with."""
    first = records[0]
    return Tuning(
        key=digest({"cell": first.cell, "trials": trials}), task=first.task, rule=first.rule,
        label=first.label, budget={"trials": trials, "seeds": 2, "epochs": 20}, space={},
        trials=[], chosen={}, cell=first.cell, configuration={}, provenance={},
    )  # type: ignore[arg-type]  # fmt: skip


def only(*groups: Sequence[Record], tunings: Sequence[Tuning] = ()) -> Board:
    """The one board of these."""
    (board,) = boards(ResultSet([record for group in groups for record in group], tunings))
    return board


def drawn(rng: np.random.Generator, mean: float, spread: float, seeds: int = 5) -> list[float]:
    """Accuracies as a test set of 360 shows them: rounded, and between 0 and 1."""
    right = np.round(rng.normal(mean, spread, seeds) * TEST_EXAMPLES).clip(0, TEST_EXAMPLES)
    return [float(r) for r in right / TEST_EXAMPLES]


def simulated_board(rng: np.random.Generator, rules: int = 17, seeds: int = 5) -> bool:
    """Whether the places of one board of rules cover the true ones of all of them at once.

    Means as on the digits (most near the top, some far below, some equal), every rule with
    a spread of its own out of `SPREADS`.
    """
    means = 0.985 - rng.choice([0, 0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1], rules)
    means = np.where(rng.random(rules) < 0.1, 0.7, means)
    spreads = rng.choice(SPREADS, rules)
    scores = [dict(enumerate(drawn(rng, m, s, seeds))) for m, s in zip(means, spreads, strict=True)]
    pairs = [(i, j) for i in range(rules) for j in range(i + 1, rules)]
    found = [difference(scores[i], scores[j]) for i, j in pairs]
    adjusted = holm([d.p if d else 1.0 for d in found])
    above = [[False] * rules for _ in range(rules)]
    for (i, j), d, p in zip(pairs, found, adjusted, strict=True):
        if d is not None and p < 0.05:
            one, other = (i, j) if d.value > 0 else (j, i)
            above[one][other] = True
    return all(
        first <= 1 + int((means > mean + 1e-9).sum())
        and last >= rules - int((means < mean - 1e-9).sum())
        for mean, (first, last) in zip(means, rank_intervals(above), strict=True)
    )


def main() -> None:
    """`python -m tests.helpers.boards 2000`: how many of so many boards are covered."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("boards", type=int, nargs="?", default=2000)
    count = parser.parse_args().boards
    for seeds in (3, 5, 10):
        rng = np.random.default_rng(seeds)
        covered = sum(simulated_board(rng, seeds=seeds) for _ in range(count))
        print(f"{seeds} seeds: the places of all 17 rules cover in {covered} of {count} boards")


if __name__ == "__main__":
    main()
