"""A checked record in little space: what it shares with others once, its curves as numbers.

Records of a cell have their configuration, card and provenance in common, and all records
of a board the shape of their curves: each is stored and read once, named by its digest.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from bioplaus.records.schema import Curves, Record, RuleCard

PARTS = ("configuration", "card", "provenance", "curves")
"""What records share; of the curves, their names and lengths."""

_SHARED = set(PARTS)


class Damaged(Exception):
    """What was packed is not what there is to unpack."""


class Packed(NamedTuple):
    """A record but for its parts."""

    head: bytes
    """JSON of all else."""
    parts: Sequence[bytes]
    """Digests of `PARTS`."""
    numbers: bytes
    """All curves one after the other, float64, NaN for null."""

    def checksum(self, name: str) -> int:
        """Of all of it, under a name."""
        start = zlib.crc32(b"".join((name.encode(errors="surrogateescape"), *self.parts)))
        return zlib.crc32(self.numbers, zlib.crc32(self.head, start))


def pack(record: Record) -> tuple[Packed, dict[bytes, bytes]]:
    """The record, and its parts by digest; ValueError where JSON cannot hold it."""
    layout: list[object] = []
    numbers = array("d")

    def take(value: Any) -> object:
        if isinstance(value, dict):
            return {name: take(inner) for name, inner in value.items()}
        start, nulls = len(numbers), None in value
        numbers.extend([math.nan if v is None else v for v in value] if nulls else value)
        layout.append([start, len(numbers), nulls])
        return len(layout) - 1

    places = {name: take(value) for name, value in record.curves}
    contents = [
        to_json(record.configuration, inf_nan_mode="constants"),
        to_json(record.card, inf_nan_mode="constants"),
        to_json(record.provenance, inf_nan_mode="constants"),
        to_json([places, layout]),
    ]
    digests = [blake2b(content, digest_size=16).digest() for content in contents]
    head = record.__pydantic_serializer__.to_json(record, by_alias=True, exclude=_SHARED)
    return Packed(head, digests, numbers.tobytes()), dict(zip(digests, contents, strict=True))


class Unpacker:
    """Makes records again; their parts are the same objects wherever they are shared."""

    def __init__(self, parts: Mapping[bytes, bytes]) -> None:
        self._parts = parts
        self._made: dict[tuple[str, bytes], Any] = {}

    def __call__(self, packed: Packed) -> Record:
        """The record; Damaged where it is none."""
        try:
            content = from_json(packed.head, cache_strings="keys")
            for name, digest in zip(PARTS, packed.parts, strict=True):
                content[name] = self._part(name, digest)
            places, layout = content["curves"]
            content["curves"] = _curves(places, layout, packed.numbers)
            return Record.model_validate(content)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise Damaged from error

    def _part(self, name: str, digest: bytes) -> Any:
        made = self._made.get((name, digest))
        if made is None:
            content = self._parts[digest]
            if blake2b(content, digest_size=16).digest() != digest:
                raise Damaged
            made = from_json(content, cache_strings="keys")
            if name == "card" and made is not None:
                made = RuleCard.model_validate(made)
            self._made[name, digest] = made
        return made


def _curves(places: dict[str, Any], layout: list[list[int]], numbers: bytes) -> Curves:
    flat: list[float] = array("d", numbers).tolist()
    curves: list[Any] = [
        [None if v != v else v for v in flat[start:stop]] if nulls else flat[start:stop]
        for start, stop, nulls in layout
    ]

    def put(place: Any) -> Any:
        if isinstance(place, int):
            return curves[place]
        return {name: put(inner) for name, inner in place.items()}

    # they were checked when they were packed, and their checksum since
    return Curves.model_construct(**put(places))
