"""Ray clusters: addresses, GPUs, and what their errors mean."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from bioplaus.benchmark.executor import JobError, Setup, WorkerLost
from bioplaus.benchmark.executors import ray_cluster
from bioplaus.errors import ConfigError
from bioplaus.plugins import registry
from tests.helpers.ray_nodes import ray


def test_gpus_are_shared_by_what_jobs_hold() -> None:
    gigabyte = 2**30
    # of 100 GB, 64 are counted on
    assert ray_cluster.gpu_fraction(8 * gigabyte, 100 * gigabyte) == 0.13
    assert ray_cluster.gpu_fraction(64 * gigabyte, 100 * gigabyte) == 1.0
    assert ray_cluster.gpu_fraction(640 * gigabyte, 100 * gigabyte) == 1.0
    assert ray_cluster.gpu_fraction(1, 100 * gigabyte) == 0.01


@pytest.mark.parametrize("address", ["ray://there:10001", "there", "there:x", "http://a:1"])
def test_an_address_is_checked(address: str) -> None:
    with pytest.raises(ConfigError, match=r"give HOST:PORT .* or auto"):
        ray_cluster.connect(ray, address, 1)


def test_where_nothing_listens_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and not listened on
        address = f"127.0.0.1:{free.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}: .*refused"):
            ray_cluster.connect(ray, address, 1)
    assert time.monotonic() - start < 30


def test_where_ray_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'bioplaus\[ray\]'"):
        registry.load("executor", "ray").open(Setup())


def test_rays_errors_say_whether_another_try_makes_sense() -> None:
    known = ray.exceptions
    lost = [
        (known.WorkerCrashedError(), "its worker process died"),
        (known.NodeDiedError("gone"), "its node died"),
        (known.OutOfMemoryError("full"), "ran out of memory"),
        (known.ObjectLostError("00" * 28, None, "x"), "lost with a node"),
        (known.ActorDiedError(), "ActorDiedError"),
    ]
    for error, words in lost:
        said = ray_cluster.error_of(ray, "it", error)
        assert isinstance(said, WorkerLost) and words in str(said)
        wrapped = known.RayTaskError("perform", "trace", error)
        assert isinstance(ray_cluster.error_of(ray, "it", wrapped), WorkerLost)
    raised = known.RayTaskError("perform", "trace", ValueError("no\nsense"))
    said = ray_cluster.error_of(ray, "it", raised)
    assert type(said) is JobError and str(said) == "it: ValueError: no sense"
