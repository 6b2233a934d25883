"""A Ray cluster: connecting to it, what it has room for, and what its errors mean."""

from __future__ import annotations

import os
import signal
import socket
import threading
from math import ceil
from typing import Any

from bioplaus.benchmark.executor import JobError, WorkerLost
from bioplaus.benchmark.executors import ray_worker
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.system.secrets import redacted

_ANSWER_SECONDS = 120.0
_KNOCK_SECONDS = 10.0
_SHARE = 0.64
"""Of a GPU's memory that is counted on: a group of seeds may fill eight tenths of what is free,
and a tenth and a half of a device is lost to the gaps between tensors."""
_JOBS_PER_GPU = 4


def load_ray() -> Any:
    """Ray, which is imported where it is asked for, and nowhere else."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ImportError:
        raise ConfigError("the executor ray needs Ray: pip install 'bioplaus[ray]'") from None
    return ray


def connect(ray: Any, address: str | None, cpus: int) -> None:
    """To the cluster of that address; to a new one of this machine alone where there is none.

    ConfigError where nothing answers.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=_checked(address), **quiet)
        # there is no option against its notes on lost nodes, which go to standard output
        ray._private.worker._worker_logs_enabled = False
    except BioplausError:
        raise
    except Exception as error:  # whatever Ray's processes have met
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"no Ray cluster answers at {redacted(address or 'this machine')}: "
            f"{reason or type(error).__name__}; `ray start --head` starts one on this machine, "
            "and prints what to run on the others"
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray has put its own in its place


def _checked(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (host and colon and port.isdecimal() and "/" not in host):
        raise ConfigError(
            f"{redacted(address)!r} is no address of a cluster: give HOST:PORT as "
            "`ray start --head` prints it, or auto for the one that this machine is in"
        )
    if colon:
        _knock(host, int(port))
    return address


def _knock(host: str, port: int) -> None:
    """OSError where nothing listens there: Ray itself would try for many minutes."""
    if not 0 < port < 65536:
        raise ConfigError(f"{port} is no port: they go from 1 to 65535")
    with socket.create_connection((host, port), timeout=_KNOCK_SECONDS):
        pass


def total(ray: Any, resource: str) -> float:
    """How much of `CPU` or `GPU` the cluster's living nodes have."""
    return float(ray.cluster_resources().get(resource, 0.0))


def device_of(ray: Any, asked: str) -> str:
    """The device that jobs are to name: Ray picks the GPU. ConfigError where there is none."""
    if asked == "auto":
        return "cuda" if total(ray, "GPU") else "cpu"
    if asked == "cuda" and not total(ray, "GPU"):
        raise ConfigError("no node of the Ray cluster has a GPU; leave out --device, or add nodes")
    if asked not in ("cpu", "cuda"):
        raise ConfigError(
            f"unknown device {asked!r} for the executor ray: choose auto, cpu or cuda; "
            "Ray picks the GPU"
        )
    return asked


def room(ray: Any, device: str) -> int:
    """How many jobs to have in flight: a CPU each, and of a GPU what they need."""
    cpus, gpus = total(ray, "CPU"), total(ray, "GPU")
    most = cpus if device == "cpu" else min(cpus, _JOBS_PER_GPU * gpus)
    if most < 1:
        raise ConfigError("the Ray cluster has no CPU to run a job on; add nodes, or use local")
    return int(most)


def smallest_gpu(ray: Any) -> int:
    """Bytes of memory of the smallest GPU among the nodes; ConfigError where torch sees none."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(ray_worker.gpu_memory)
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU")]
    answers = [
        ask.options(
            num_cpus=0,
            num_gpus=0.001,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote()
        for node in nodes
    ]
    try:
        sizes = ray.get(answers, timeout=_ANSWER_SECONDS)
    except ray.exceptions.RayError as error:
        raise ConfigError(
            f"the GPU nodes of the cluster do not answer ({type(error).__name__}): "
            "are they busy with other work?"
        ) from None
    if not all(sizes):
        raise ConfigError(
            "a node of the cluster has a GPU that its torch does not see: "
            "install a torch with CUDA there, or use --device cpu"
        )
    return int(min(sizes))


def gpu_fraction(needed: int, memory: int) -> float:
    """Of a GPU for a job that holds so many bytes, in hundredths; at most the whole of it.

    A job that needs more than one has trains its seeds in smaller groups.
    """
    return min(1.0, ceil(100 * needed / (_SHARE * memory)) / 100)


def error_of(ray: Any, title: str, error: Exception) -> BioplausError:
    """What a user is told of an exception that came back in place of a result."""
    known = ray.exceptions
    if isinstance(error, known.RayTaskError):
        cause = error.cause
        if not isinstance(cause, known.RayError | MemoryError):
            return JobError(f"{title}: {type(cause).__name__}: {' '.join(str(cause).split())}")
        error = cause
    words = {
        MemoryError: "its worker ran out of memory",
        known.OutOfMemoryError: "its node ran out of memory, and Ray ended the worker",
        known.NodeDiedError: "its node died",
        known.TaskCancelledError: "it was cancelled",
        known.ObjectLostError: "its data or its result were lost with a node",
        known.WorkerCrashedError: "its worker process died",
    }
    said = (text for kind, text in words.items() if isinstance(error, kind))
    return WorkerLost(f"{title}: {next(said, f'it was lost ({type(error).__name__})')}")
