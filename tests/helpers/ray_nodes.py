"""A Ray cluster on this machine, whose nodes come and go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.helpers.jobs import wait_for

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'bioplaus[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@contextlib.contextmanager
def nodes(cluster: Any, *cpus: int, **more: Any) -> Iterator[list[Any]]:
    """Raylets with so many CPUs each, ended at the end where they still live."""
    added = [cluster.add_node(num_cpus=n, **more) for n in cpus]
    try:
        yield added
    finally:
        for node in added:
            if node in cluster.worker_nodes:
                cluster.remove_node(node)
        deadline = time.monotonic() + 30
        while ray.cluster_resources().get("CPU") and time.monotonic() < deadline:
            time.sleep(0.05)


def fall(cluster: Any, node: Any) -> None:
    """The node goes down as a machine does, its raylet and its workers at once, while it trains."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    wait_for(lambda: any([stopped_in_training(worker) for worker in raylet.children()]))
    for process in (raylet, *raylet.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.remove_node(node, allow_graceful=False)


def stopped_in_training(worker: psutil.Process) -> bool:
    """Whether it trains, as Ray's name for the process says; from then on it stands still."""

    def trains() -> bool:
        name = " ".join(worker.cmdline())
        return name.startswith("ray::") and " on " in name

    with contextlib.suppress(psutil.NoSuchProcess):  # workers come and go
        if trains():
            worker.suspend()
            if trains():
                return True
            worker.resume()
    return False
