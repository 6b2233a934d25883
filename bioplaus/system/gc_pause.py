"""Python's search for garbage, kept away from where millions of objects come to stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """No search inside; what was made inside counts as old after it, and is seldom searched."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:  # or else somebody else's would be unfrozen
            gc.freeze()
            gc.unfreeze()
        gc.enable()
