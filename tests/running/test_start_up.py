"""What starting costs: torch's compiler, which takes seconds to load, is loaded to compile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from bioplaus.cli import main
main({arguments}, standalone_mode=False)
loaded = [name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules]
assert not loaded, loaded
"""


def test_a_run_that_compiles_nothing_loads_no_compiler(tiny: Path, tmp_path: Path) -> None:
    """GAIT-prop: operators of our own, an optimizer, and a probe that takes gradients."""
    task, folder = ["--task", str(tiny)], ["--results", str(tmp_path / "results")]
    arguments = ["run", "--rule", "gaitprop", *task, "--seeds", "1", "--compile", "off", *folder]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(arguments=arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
