"""The report contract: a function of a results folder's content and of nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from bioplaus.records.schema import ResultSet


class Report(ABC):
    """A format for results, found through the entry points `bioplaus.reports`.

    Example:

        >>> from bioplaus import Report
        >>> from bioplaus.records.schema import ResultSet
        >>> class Rules(Report):
        ...     name = "rules"
        ...
        ...     def render(self, results, width=None):
        ...         return ", ".join(sorted({r.rule for r in results.records})) or "no records"
        >>> Rules().render(ResultSet([]))
        'no records'
    """

    name: ClassVar[str]
    for_terminals: ClassVar[bool] = True
    """False for a format that is of no use on a terminal, only in a file."""

    @abstractmethod
    def render(self, results: ResultSet, width: int | None = None) -> str:
        """The report as text. `width` is the terminal's, None where there is none.

        The same results in any order give the same text.
        """
