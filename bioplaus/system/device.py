"""Where and with what a run was made: facts for a record's provenance, and the device."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bioplaus.errors import ConfigError
from bioplaus.system.secrets import redacted_command

_PACKAGES = ("bioplaus", "torch", "torchvision", "numpy", "scikit-learn", "pydantic")

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "fp64": torch.float64}
"""tf32: float32 whose products on a GPU round their factors to 10 bits of mantissa."""


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:1` -> a device that is there; ConfigError otherwise."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"there is no device {name!r}: torch sees {count} CUDA devices here; take "
                "cpu, or auto"
            )
    return device


def use_precision(name: str, device: torch.device) -> None:
    """fp32 means float32: TF32 only where it is asked for, for cuDNN too.

    ConfigError for tf32 on a CPU, which has no such products.
    """
    if name == "tf32" and device.type != "cuda":
        raise ConfigError("tf32 is a precision of CUDA devices; choose fp32 or fp64 here")
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    torch.backends.cudnn.allow_tf32 = name == "tf32"


def provenance(
    device: torch.device, threads: int, seeds: Sequence[int], execution: str = ""
) -> dict[str, object]:
    """All that may differ between two runs with the same result.

    execution: how steps ran, "eager", "traced" or "compiled".
    """
    return {
        "execution": execution,
        "bioplaus_git": git_revision(),
        "command": redacted_command([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "device": device_name(device),
        "device_type": device.type,
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "seeds_together": list(seeds),
        "threads": threads,
    }


def device_name(device: torch.device) -> str:
    """The device's model, where it is in this machine: a cluster's driver may have none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "GPUs of a cluster"
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of the checkout that bioplaus runs from, `-dirty` where it is changed."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


_WORTH_SHARING = 1e7
"""Multiply-adds in one product above which a second CPU thread pays for its wake-up."""


@contextlib.contextmanager
def suitable_threads(multiply_adds: float) -> Iterator[None]:
    """One CPU thread while the largest product of a step is small, all of them otherwise.

    On small products threads wait for each other longer than they work, and where other
    programs want the cores, many times longer.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if multiply_adds > _WORTH_SHARING else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
