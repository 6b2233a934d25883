# ruff: noqa: RUF001  (the characters that are replaced)
"""Output that cannot hold every character: a terminal of cp1252, a pipe of ASCII."""

from __future__ import annotations

import codecs
import sys
import unicodedata

HANDLER = "bioplaus.nearest"

_NEAREST = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╸╶╺", "-"),
    **dict.fromkeys("│┃║", "|"),
    "±": "+/-",
    "°": " deg",
    "×": "x",
    "·": ".",
    "…": "...",
    "–": "-",
    "—": "-",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "‖": "||",
    "∂": "d",
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
}


def take_any_text() -> None:
    """From now on, what standard output and error cannot encode is shown as near as can be."""
    codecs.register_error(HANDLER, _nearest)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=HANDLER)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """ASCII for what an encoding lacks; a handler as of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(map(_as_ascii, wrong)), error.end


def _as_ascii(character: str) -> str:
    if character in _NEAREST:
        return _NEAREST[character]
    if "─" <= character <= "╿":  # the rest of the box-drawing characters are corners
        return "+"
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("ascii", "backslashreplace").decode()
