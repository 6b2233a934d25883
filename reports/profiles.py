"""What rules ask of a brain: as declared, unless it was measured, and where the two differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bioplaus.analysis.boards import Board
from bioplaus.analysis.cells import Cell
from bioplaus.records.schema import RuleCard

REFERENCE = "backprop"
"""What rules are compared with, where it is among them."""

NEEDS_NOTHING: dict[str, tuple[object, ...]] = {
    "weight_transport": ("none",),
    "local": (True,),
    "update_locking": (False,),
    "backward_locking": (False,),
    "needs_derivative": ("no", "local"),
    "signed_errors": ("none", "activity difference"),
    "auxiliary": ("none", "", None),
}
"""Values of a profile that ask for nothing beyond what neurons are known to do."""

SAME = {"exact": ("exact", "transpose", "inverse")}
"""What a measurement cannot tell apart."""

Badge = Literal["reference", "control", "plausible", ""]


@dataclass(frozen=True)
class Property:
    """One property of a rule."""

    name: str
    value: object
    """As measured, or else as declared; None where neither is there."""
    declared: object
    measured: object

    @property
    def contradicted(self) -> bool:
        """Whether the measurement found something else than what is declared."""
        if self.measured is None or self.declared in (None, ""):
            return False
        return self.declared not in SAME.get(str(self.measured), (self.measured,))

    @property
    def asks_nothing(self) -> bool:
        """Whether it is nothing beyond what neurons are known to do."""
        return self.value in NEEDS_NOTHING[self.name]


@dataclass(frozen=True)
class Profile:
    """All properties of a rule that count as dots."""

    rule: str
    properties: tuple[Property, ...]
    control: bool
    """Says of itself that it is one."""

    @property
    def known(self) -> int:
        """How many of them are known."""
        return sum(p.value is not None for p in self.properties)

    @property
    def filled(self) -> int:
        """How many ask for nothing."""
        return sum(p.value is not None and p.asks_nothing for p in self.properties)

    @property
    def badge(self) -> Badge:
        """The reference; a control, which is no candidate; or plausible: local, no transport."""
        at = {p.name: p for p in self.properties}
        if self.rule == REFERENCE:
            return "reference"
        if self.control or at["local"].value is False:
            return "control"
        fine = at["weight_transport"].asks_nothing and at["local"].asks_nothing
        return "plausible" if fine else ""


def profile(rule: str, card: RuleCard | None) -> Profile:
    """Of a rule's card; measured wins over declared."""
    declared = card.plausibility if card else {}
    measured = card.tested if card else {}
    found = []
    for name in NEEDS_NOTHING:
        said, seen = declared.get(name), measured.get(name)
        if name == "auxiliary" and said in ("", None) and card is not None:
            said = "none"
        # a measurement that agrees leaves the finer word: transpose is a kind of exact
        agrees = seen is not None and said in SAME.get(str(seen), (seen,))
        found.append(Property(name, said if seen is None or agrees else seen, said, seen))
    control = "control" in str(declared.get("note", "")).lower()
    return Profile(rule, tuple(found), control)


def card_of(cells: Sequence[Cell]) -> RuleCard | None:
    """The facts on a rule that its records carry; None in records that have none."""
    return next((r.card for c in cells for r in c.records if r.card is not None), None)


def cards(boards: Sequence[Board]) -> dict[str, RuleCard | None]:
    """Of every rule on any board, in the order of their names."""
    cells: dict[str, list[Cell]] = {}
    for board in boards:
        for rule, cell in board.entries.items():
            cells.setdefault(rule, []).append(cell)
    return {rule: card_of(cells[rule]) for rule in sorted(cells)}
