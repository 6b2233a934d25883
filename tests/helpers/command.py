"""The command: within this process, and as it is installed, for tests that interrupt it.

`python -m bioplaus` will not do: where Ctrl-C comes within an exec() of source, as some imports
of torch do, Python 3.11 ends `-m` by the signal whatever status the program asks for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from click.testing import CliRunner, Result

from bioplaus.cli import main

BIOPLAUS = str(Path(sys.executable).with_name("bioplaus"))


def call(*arguments: str) -> Result:
    """The command within this process."""
    return CliRunner().invoke(main, arguments)
