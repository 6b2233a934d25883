"""TOML files that people hand in: read up to a bound, and one clear line for what is wrong."""

from __future__ import annotations

import codecs
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioplaus.errors import ConfigError, shown
from bioplaus.system.paths import expanded

if TYPE_CHECKING:
    from pydantic import ConfigDict

TABLE: ConfigDict = {
    "frozen": True,
    "extra": "forbid",
    "allow_inf_nan": False,
    "strict": True,
}
"""Of the models that read such files: a number in quotes is a mistake, not a number."""
MAX_BYTES = 256 * 2**10
"""Of a file: the largest built-in one has less than a hundredth of it."""
MAX_DOTS = 1000
"""In a line: the parser's time and memory grow with the square of a dotted key's parts."""


def read_toml(path: str | Path, what: str) -> str:
    """The text of a file; ConfigError, naming it as `what`, where it cannot be had.

    Anything but a file is refused, and no more than `MAX_BYTES` is read.
    """
    try:
        there = expanded(path)
        if not stat.S_ISREG(there.stat().st_mode):
            raise ConfigError(f"cannot read the {what} {shown(path)}: it is not a file")
        with open(there, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        here = f"; it is looked for in {shown(Path.cwd())}" if not Path(path).is_absolute() else ""
        missing = here if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(
            f"cannot read the {what} {shown(path)}: {error.strerror}{missing}"
        ) from None
    except ValueError:  # a name that no file can have
        raise ConfigError(
            f"cannot read the {what} {shown(path)}: no file has such a name"
        ) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"cannot read the {what} {shown(path)}: it is larger than {MAX_BYTES} bytes"
        )
    try:
        return decoded(content)
    except ValueError as error:
        raise ConfigError(f"cannot read the {what} {shown(path)}: {error}") from None


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decoded(content: bytes) -> str:
    """The text in a file's bytes, with Unix line ends; ValueError saying what to do otherwise.

    TOML is UTF-8. What Windows makes of it is read too: a byte order mark before it
    (Notepad), and UTF-16 with one (PowerShell's `>`).
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark and encoding != "utf-8":
            raise ValueError(f"it is no whole {encoding.upper()} text; save it as UTF-8") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"it is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("it holds NUL characters, as UTF-16 does; save it as UTF-8")
    return text.replace("\r\n", "\n")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The table in a text; ConfigError where it is not TOML, or made to exhaust its reader."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{where} is larger than {MAX_BYTES} characters")
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise ConfigError(f"{where} has a line with more than {MAX_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply") from None
    except ValueError as error:  # not TOML, or a number of thousands of digits
        line = re.search(r"at line (\d+)", str(error))
        quoted = f", {shown(text.splitlines()[int(line[1]) - 1].strip(), 60)!r}" if line else ""
        raise ConfigError(
            f"{where} is not valid TOML: {shown(error, 200)}{quoted}; TOML has lines key = value, "
            "texts in quotes, true and false in small letters, and no key twice"
        ) from None
