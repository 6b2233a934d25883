"""Commands as people copy them: quoted for a shell, on one line, without secrets."""

from __future__ import annotations

import shlex

from bioplaus.errors import shown
from bioplaus.system.secrets import redacted_command


def bioplaus(*words: object) -> str:
    """`bioplaus` with these words: every command that this program prints is made here."""
    return quoted("bioplaus", *words)


def quoted(*words: object) -> str:
    """Words as a shell takes them, each as one."""
    line = shlex.join(redacted_command(map(str, words)))
    return shown(line, len(line))
