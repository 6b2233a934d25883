"""TOML files that people hand in: read up to a bound, and one clear line for what is wrong."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from bioplaus.errors import ConfigError, shown

MAX_BYTES = 256 * 2**10
"""Of a file: the largest built-in one has less than a hundredth of it."""
MAX_DOTS = 1000
"""In a line: the parser's time and memory grow with the square of a dotted key's parts."""


def read_toml(path: str | Path, what: str) -> str:
    """The text of a file; ConfigError, naming it as `what`, where it cannot be had.

    Anything but a file is refused, and no more than `MAX_BYTES` is read.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ConfigError(f"cannot read the {what} {shown(path)}: it is not a file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {shown(path)}: {error.strerror}") from None
    except ValueError:  # a name that no file can have
        raise ConfigError(
            f"cannot read the {what} {shown(path)}: no file has such a name"
        ) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"cannot read the {what} {shown(path)}: it is larger than {MAX_BYTES} bytes"
        )
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the {what} {shown(path)}: {error}") from None


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
        raise ConfigError(f"{where} is not valid TOML: {shown(error, 200)}") from None
