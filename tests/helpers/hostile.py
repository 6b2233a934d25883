"""Whatever a file holds: mutations of valid files, and only the documented errors, on one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bioplaus.errors import BioplausError

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with pieces replaced, repeated, moved or left out."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 20)))
        source = draw(st.integers(0, len(valid)))
        data[at:until] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"", b"null", b"1e999", b"-1", b"NaN", b'"\\ud800"', b"\n", b"\0"])
            | st.just(bytes(valid[source : source + 30]))
        )
    return bytes(data)


def allowed(call: Callable[[], Any], *errors: type[BioplausError]) -> Any:
    """What the call gives; None where it raises one of these errors, on one printable line."""
    try:
        return call()
    except errors as error:
        assert str(error).isprintable() and 0 < len(str(error)) < 3000
        return None
