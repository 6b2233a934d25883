"""What a store holds."""

from __future__ import annotations

from bioplaus.records.schema import Record
from bioplaus.records.store import Store


def content_of(store: Store) -> tuple[list[Record], list[str]]:
    found = store.read_all()
    return list(found.records), list(found.damaged)
