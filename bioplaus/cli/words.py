"""Small words that several commands print."""

from __future__ import annotations


def count(number: int, thing: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
