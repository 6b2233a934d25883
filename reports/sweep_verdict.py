"""What a sweep says in a sentence: who beats the reference where, who falls behind, who never."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bioplaus.analysis.boards import Board
from bioplaus.analysis.sweeps import WORDS, Sweep

from .profiles import REFERENCE, Profile
from .standing import listed

MOST = 2
"""Sweeps of a task that have a sentence each; of more, crossed ones, the boards are counted."""


def sweep_verdicts(swept: Sequence[Sweep], profiles: Mapping[str, Profile]) -> list[str]:
    """A sentence for each sweep, or for each task whose sweeps are many."""
    by_task: dict[str, list[Sweep]] = defaultdict(list)
    for sweep in swept:
        by_task[sweep.task].append(sweep)
    said = [
        words
        for own in by_task.values()
        for words in (
            [sweep_verdict(sweep, profiles) for sweep in own]
            if len(own) <= MOST
            else [_crossed_verdict(own, profiles)]
        )
    ]
    return [words for words in said if words]


def _crossed_verdict(swept: Sequence[Sweep], profiles: Mapping[str, Profile]) -> str:
    """On how many of the boards of a task's sweeps, each counted once, a rule is better, or worse.

    "" where no board has the reference and another rule.
    """
    boards = {id(board): board for sweep in swept for board in sweep.boards}
    above: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for board in boards.values():
        for rule, better in _against_reference(board):
            if profiles[rule].badge != "control":
                seen[rule] += 1
                above[rule] += better == rule
                behind[rule] += better == REFERENCE
    if not seen:
        return ""
    parts = []
    for rule in sorted(seen, key=lambda r: (-above[r], behind[r], r)):
        of = "" if seen[rule] == len(boards) else f" of its {seen[rule]}"
        found = [f"beats {REFERENCE} at {above[rule]}"] * bool(above[rule])
        found += [f"is behind it at {behind[rule]}"] * bool(behind[rule])
        said = listed(found) if found else "is nowhere separated from it"
        parts.append(f"{rule} {said}" + of * bool(found))
    if not any(above.values()):
        parts.insert(0, f"nothing beats {REFERENCE}")
    fields = listed(list(dict.fromkeys(WORDS[sweep.field] for sweep in swept)))
    start = f"On {swept[0].task}, at {len(boards)} combinations of {fields}"
    return f"{start}, {'; '.join(parts)}."


def sweep_verdict(sweep: Sweep, profiles: Mapping[str, Profile]) -> str:
    """Against the reference, each board corrected for its own pairs; controls are no candidates.

    "" where no board has the reference and another rule.
    """
    above: dict[str, list[float]] = defaultdict(list)
    behind: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, list[float]] = defaultdict(list)
    for value, board in zip(sweep.values, sweep.boards, strict=True):
        for rule, better in _against_reference(board):
            if profiles[rule].badge == "control":
                continue
            seen[rule].append(value)
            if better is not None:
                (above if better == rule else behind)[rule].append(value)
    if not seen:
        return ""
    first, last = sweep.values[0], sweep.values[-1]
    parts = [f"{r} beats {REFERENCE} at {_values(above[r])}" for r in above]
    always = [r for r in behind if behind[r] == seen[r]]
    some = sorted((behind[r], r) for r in behind if r not in always)
    if always:
        be = "is" if len(always) == 1 else "are"
        parts.append(f"{listed(always)} {be} behind it throughout")
    for found in dict.fromkeys(tuple(values) for values, _ in some):
        rules = [r for values, r in some if tuple(values) == found]
        be = "is" if len(rules) == 1 else "are"
        parts.append(f"{listed(rules)} {be} behind it at {_values(found)}")
    never = [r for r in seen if r not in above and r not in behind]
    if never:
        be = "is" if len(never) == 1 else "are"
        parts.append(f"{listed(never)} {be} nowhere separated from it")
    start = f"On {sweep.title}, with {first:g} to {last:g} {WORDS[sweep.field]}"
    text = "; ".join(parts)
    return f"{start}, {text}." if above else f"{start}, nothing beats {REFERENCE}; {text}."


def _against_reference(board: Board) -> list[tuple[str, str | None]]:
    """Each other ranked rule, and which of the two is surely better."""
    ranked = {c.rule: c for c in board.ranked}
    if REFERENCE not in ranked:
        return []
    found = []
    for rule, cell in ranked.items():
        if rule != REFERENCE:
            better = board.compare(cell, ranked[REFERENCE]).better
            found.append((rule, better.rule if better else None))
    return found


def _values(values: Sequence[float]) -> str:
    *rest, last = [f"{value:g}" for value in values]
    return f"{', '.join(rest)} and {last}" if rest else last
