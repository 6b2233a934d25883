"""What a sweep says in a sentence: who beats the reference where, who falls behind, who never."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bioplaus.analysis.boards import Board
from bioplaus.analysis.sweeps import WORDS, Sweep

from .profiles import REFERENCE, Profile
from .standing import listed


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
