"""What names a file for what it holds: digests of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bioplaus.records.schema import SCHEMA


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no blanks, floats as their shortest repr."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_key(cell: str, seed: int) -> str:
    """A record's key, from its configuration's digest and its seed."""
    return digest({"cell": cell, "seed": seed})


def measurement_key(
    axis: str, version: int, settings: Mapping[str, Any], record: str, weights: str
) -> str:
    """A measurement's key: equal for what must be equal."""
    content = {"axis": axis, "version": version, "settings": settings, "record": record}
    return digest({"schema": SCHEMA, "weights": weights, **content})
