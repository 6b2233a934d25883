"""Files for pictures: checked before the work, not after it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bioplaus.errors import ConfigError

KINDS = (".svg", ".png", ".pdf")


def require_picture(path: str, asked: str) -> None:
    """ConfigError where a picture could not be drawn there. asked: what wants it, "--plot" say."""
    if Path(path).suffix not in KINDS:
        raise ConfigError(f"cannot draw {path}: its name must end with {', '.join(KINDS)}")
    if not Path(path).parent.is_dir():
        raise ConfigError(f"cannot draw {path}: there is no folder {Path(path).parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(f"{asked} needs matplotlib: pip install 'bioplaus[plot]'")
