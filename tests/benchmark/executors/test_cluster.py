"""Whoever waits for a job of a cluster is told, whatever becomes of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar

import pytest

from bioplaus.benchmark.executor import WorkerLost
from bioplaus.benchmark.executors.cluster import ClusterExecutor, Ticket
from bioplaus.errors import BioplausError
from tests.helpers.jobs import Told, quiet, wait_for


class Cluster(ClusterExecutor[Ticket]):
    """Of one slot, which does with a job what a test says."""

    name: ClassVar[str] = "here"
    trouble: ClassVar[str] = "the cluster burns"
    ticket = Ticket

    def __init__(self, hand_over: Callable[[Cluster, Ticket], None]) -> None:
        super().__init__(1, "cpu", None)
        self.hand_over = hand_over
        self.cancelled: list[Any] = []
        self.start()

    def turn(self) -> None:
        while ticket := self.next():
            self.hand_over(self, ticket)
        self.over.wait(0.01)

    def cancel(self, reference: Any) -> None:
        self.cancelled.append(reference)
        raise ConnectionError("nobody there")

    def release(self) -> None:
        """It holds nothing."""


def runs(cluster: Cluster, ticket: Ticket) -> None:
    cluster.running[ticket.number] = ticket


def fails_on_the_way(cluster: Cluster, ticket: Ticket) -> None:
    raise OSError("no space left")


def forgets(cluster: Cluster, ticket: Ticket) -> None:
    """Neither runs it nor says so."""


def two_of(cluster: Cluster) -> list[Future[Any]]:
    return [cluster.submit(Told("work"), quiet) for _ in range(2)]


def test_a_job_that_is_on_its_way_when_the_cluster_fails_is_told_like_those_that_wait() -> None:
    with Cluster(fails_on_the_way) as cluster:
        for future in two_of(cluster):
            with pytest.raises(BioplausError, match="the cluster burns: OSError: no space left"):
                future.result(timeout=60)
        with pytest.raises(BioplausError, match="the cluster burns"):
            cluster.submit(Told("work"), quiet).result(timeout=60)


def test_closing_cancels_what_waits_and_loses_what_runs() -> None:
    cluster = Cluster(runs)
    running, waiting = two_of(cluster)
    wait_for(lambda: bool(cluster.running))
    cluster.close()
    with pytest.raises(WorkerLost, match="stopped"):
        running.result(timeout=60)
    assert waiting.cancelled() and cluster.cancelled == [1]
    assert cluster.submit(Told("work"), quiet).cancelled()


def test_closing_tells_of_what_was_forgotten() -> None:
    cluster = Cluster(forgets)
    futures = two_of(cluster)
    wait_for(lambda: all(future.running() for future in futures))
    cluster.close()
    for future in futures:
        with pytest.raises(WorkerLost, match="stopped"):
            future.result(timeout=60)
