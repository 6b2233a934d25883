"""The report contract: a function of records and of nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from bioplaus.records import Record


class Report(ABC):
    """A format for results, found through the entry points `bioplaus.reports`."""

    name: ClassVar[str]

    @abstractmethod
    def render(self, records: Sequence[Record], width: int | None = None) -> str:
        """The report as text. `width` is the terminal's, None where there is none.

        The same records in any order give the same text.
        """
