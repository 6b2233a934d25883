"""Records as a data frame, with what went wrong beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    import pandas

    from bioplaus.records.schema import Record


def frame_of(
    records: Sequence[Record], problems: Sequence[str], notes: Sequence[str]
) -> pandas.DataFrame:
    """One row for each; `problems` and `notes` in its `attrs`.

    BioplausError where there are problems alone: an empty frame would not say why.
    """
    import pandas

    from bioplaus.records.rows import to_rows

    if problems and not records:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BioplausError(problems[0] + more)
    frame = pandas.DataFrame(to_rows(records))
    frame.attrs["problems"], frame.attrs["notes"] = list(problems), list(notes)
    return frame
