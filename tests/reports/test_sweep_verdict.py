"""What crossed sweeps say in a sentence, however many there are."""

from __future__ import annotations

from bioplaus.analysis.boards import boards
from bioplaus.analysis.sweeps import sweeps
from bioplaus.records.schema import Record, ResultSet
from reports.profiles import cards, profile
from reports.sweep_verdict import sweep_verdicts
from tests.helpers.boards import GOOD, WORSE, make_cell

SHARES, EXAMPLES = (0.0, 0.5, 0.9), (60, 120, 300)


def crossed(better: set[tuple[float, int]]) -> list[Record]:
    """`a` beats backprop where it is said to, and is behind it with 60 examples elsewhere."""
    found = []
    for share in SHARES:
        for examples in EXAMPLES:
            content = {
                "loss": "mse", "batch_size": 20, "train_examples": examples,
                "pruning": {"sparsity": share, "kind": "random", "feedback": "dense"},
            }  # fmt: skip
            here = (share, examples) in better
            own = GOOD if here else WORSE if examples == 60 else [v - 0.02 for v in GOOD]
            other = WORSE if here else GOOD if examples == 60 else [v - 0.02 for v in GOOD]
            epochs = 20_400 // examples
            for rule, scores in (("a", own), ("backprop", other)):
                found += make_cell(rule, scores, epochs=epochs, task_content=content)
    return found


def said(better: set[tuple[float, int]]) -> list[str]:
    made = boards(ResultSet(crossed(better)))
    profiles = {rule: profile(rule, card) for rule, card in cards(made).items()}
    return sweep_verdicts(sweeps(made), profiles)


def test_each_board_counts_once() -> None:
    """Six sweeps share nine boards."""
    places = "On toy, at 9 combinations of share of weights left out and examples to learn from, "
    assert said({(0.9, 120), (0.9, 300)}) == [
        f"{places}a beats backprop at 2 and is behind it at 3."
    ]
    assert said(set()) == [f"{places}nothing beats backprop; a is behind it at 3."]


def test_sweeps_stand_in_the_order_of_what_they_share() -> None:
    found = sweeps(boards(ResultSet(crossed(set()))))
    also = [s.also for s in found if s.field == "pruning.sparsity"]
    assert [int(words.rpartition("=")[2]) for words in also] == [60, 120, 300]
