"""What the schemas of records are made of: numbers that may be null, names, strict tables."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

Number = Annotated[
    float | None,
    Field(strict=True),
    BeforeValidator(lambda v: None if isinstance(v, float) and not math.isfinite(v) else v),
]
"""A float, or null where it is not finite or was not measured."""


def _nulled(values: Any) -> Any:
    """The list with null for what is not finite, in one call for all of it."""
    if not isinstance(values, list | tuple):
        return values
    try:
        if all(map(math.isfinite, values)):
            return values
    except (TypeError, OverflowError):
        pass  # a null, or what the list's own check will name
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]


Numbers = Annotated[
    list[Annotated[float | None, Field(strict=True)]], FailFast(), BeforeValidator(_nulled)
]
"""A list of `Number`, checked as a whole: most of a record is such lists."""


NumberOrNumbers = Annotated[
    float | list[float | None] | None,
    BeforeValidator(lambda v: _nulled(v) if isinstance(v, list) else _nulled([v])[0]),
]
"""Either."""


def few(most: int) -> BeforeValidator:
    """Checked before the entries are: of each bad one an error is kept, in a thousand bytes."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > most:
            raise ValueError(f"{len(value)} entries, where {most} are the most")
        return value

    return BeforeValidator(check)


MANY = few(10_000)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A name that cannot leave its folder."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, content: Any) -> Any:
        if isinstance(content, dict) and len(content) > 100:
            raise ValueError(f"{len(content)} fields, most of them unknown")
        return content
