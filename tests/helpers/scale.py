"""How long `bioplaus report` takes on 50,000 records: `python -m tests.helpers.scale [FOLDER]`.

Not collected by pytest: it writes half a gigabyte. Every report is a process of its own,
once without an index and once with it, judged by the processor time that it took, which
other work on the machine changes less than the time on the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.synthetic import write_all

FORMATS = ("table", "csv", "json", "markdown", "latex", "html")


def main() -> None:
    """Write the records, where they are not there yet, and time the reports."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="where to keep the records; else they go")
    parser.add_argument("--shape", type=int, nargs=4, default=(20, 5, 25, 20),
                        metavar=("RULES", "TASKS", "CONFIGURATIONS", "SEEDS"))  # fmt: skip
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--warm", action="store_true", help="only with an index")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(chosen.folder or scratch) / "results"
        if not folder.exists():
            print(f"{write_all(folder, *chosen.shape):,} records in {folder}", flush=True)
        print(
            f"{'format':10}{'index':>8}{'processor s':>13}{'clock s':>9}{'MB out':>8}", flush=True
        )
        for form in chosen.formats:
            for state in ("warm",) if chosen.warm else ("cold", "warm"):
                _timed(folder, Path(chosen.folder or scratch), form, state)


def _timed(folder: Path, beside: Path, form: str, state: str) -> None:
    cache, out = beside / "cache", beside / f"board.{form}"
    if state == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "bioplaus", "report", "--results", str(folder),
               "--format", form, "-o", str(out)]  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)}
    )
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    size = out.stat().st_size / 1e6
    print(f"{form:10}{state:>8}{used:13.1f}{clock:9.1f}{size:8.2f}", flush=True)


if __name__ == "__main__":
    main()
