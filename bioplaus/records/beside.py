"""Files that stand beside the records of a results folder, one of a kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bioplaus.errors import RecordError, shown

_M = TypeVar("_M", bound=BaseModel)


def read_beside(path: Path, model: type[_M], otherwise: str) -> _M:
    """What a file holds, the model's defaults where there is none.

    Raises RecordError where it cannot be read or holds something else; otherwise: what to say then.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return model()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read {path}: {error}") from None
    try:
        return model.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        reason = shown(" ".join(str(error).split()), 200)
        raise RecordError(f"{path} {otherwise} ({reason})") from None
