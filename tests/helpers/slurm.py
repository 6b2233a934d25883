"""A Slurm of this machine alone: the four commands that are asked for, on PATH."""

from __future__ import annotations

import sys
from pathlib import Path

SBATCH = r"""
import os, re, subprocess, sys
from pathlib import Path
state = Path(os.environ["FAKE_SLURM"])
text = Path(sys.argv[-1]).read_text()
(state / f"script-{len(list(state.glob('script-*')))}").write_text(text)
if (state / "refuse").exists():
    sys.exit("sbatch: error: invalid partition specified: nowhere")
number = 100 + len(list(state.glob("script-*")))
array = re.search(r"--array=0-(\d+)", text)
for index in range(int(array[1]) + 1) if array else [None]:
    name = str(number) if index is None else f"{number}_{index}"
    own = {"SLURM_JOB_ID": str(number if index is None else number * 100 + index),
           "SLURM_PROCID": "0",
           "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1",
           "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}
    if index is not None:
        own |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
    log = open(state / f"log-{name}", "w")
    child = subprocess.Popen(["bash", sys.argv[-1]], env=os.environ | own, stdout=log,
                             stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (state / f"pid-{name}").write_text(str(child.pid))
print(f"Submitted batch job {number}")
"""
SACCT = r"""
import os
from pathlib import Path
state = Path(os.environ["FAKE_SLURM"])
print("JobID|State|NodeList")
for file in state.glob("pid-*"):
    try:
        alive = Path(f"/proc/{file.read_text()}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        alive = "Z"
    print(f"{file.name[4:]}|{'FAILED' if alive == 'Z' else 'RUNNING'}|here")
"""
SCANCEL = r"""
import os, signal, sys
from pathlib import Path
state = Path(os.environ["FAKE_SLURM"])
(state / f"cancelled-{sys.argv[-1]}").touch()
try:
    os.killpg(int((state / f"pid-{sys.argv[-1]}").read_text()), signal.SIGKILL)
except OSError:
    pass
"""
SRUN = r"""
import os, sys
at = next(i for i, word in enumerate(sys.argv) if "python" in word)
os.execv(sys.argv[at], sys.argv[at:])
"""


def install(folder: Path) -> dict[str, str]:
    """Make the commands in a folder; what to set in the environment, PATH to be put first."""
    state = folder / "state"
    state.mkdir()
    commands = {"sbatch": SBATCH, "sacct": SACCT, "scancel": SCANCEL, "srun": SRUN}
    for name, program in commands.items():
        file = folder / name
        file.write_text(f"#!{sys.executable}\n{program}")
        file.chmod(0o755)
    return {"FAKE_SLURM": str(state), "PATH": str(folder)}
