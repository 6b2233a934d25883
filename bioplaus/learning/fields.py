"""Typed fields as people write them in Python: what is wrong with one is told in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bioplaus.errors import ConfigError, validation_message


class Fields(BaseModel):
    """A pydantic model whose constructor raises ConfigError, as all doors for people do.

    `model_validate` raises pydantic's own error, for whoever knows where a table came from.
    """

    if not TYPE_CHECKING:  # the fields themselves are what type checkers should see

        def __init__(self, /, *unnamed: Any, **fields: Any) -> None:
            cls = type(self)
            if unnamed:
                first = next(iter(cls.model_fields), "")
                raise ConfigError(
                    f"{cls.__name__}: fields are given by name, as in {cls.__name__}({first}=...)"
                )
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise ConfigError(f"{cls.__name__}: {validation_message(error, cls)}") from None

        __init__.__pydantic_base_init__ = True
        """So that pydantic makes tables within tables as ever, without this constructor."""

        def __setattr__(self, name: str, value: Any) -> None:
            try:
                super().__setattr__(name, value)
            except (ValidationError, ValueError):
                raise ConfigError(
                    f"{type(self).__name__}: {name} cannot be changed: make another by "
                    f"model_copy(update={{{name!r}: ...}})"
                ) from None
