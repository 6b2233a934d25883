"""Paths as people write them: `~` is the home folder, wherever it stands in a command."""

from __future__ import annotations

import os
from pathlib import Path

from bioplaus.errors import ConfigError, shown


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` or `~somebody` in the place of that home; ConfigError for nobody's.

    A shell expands `~` at the beginning of a word alone, not in `--results=~/here`.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{shown(os.fspath(path))}: there is no home folder of {Path(path).parts[0][1:]!r}; "
            "write the path without ~"
        ) from None
