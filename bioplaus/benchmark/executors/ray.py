"""Jobs on a Ray cluster, or on a cluster of this machine alone.

Every job is a Ray task; its records come back to the driver, which alone writes. Examples go
into Ray's object store once, and from there to each node once. Ray tries nothing again by
itself: what is lost is told as such, and tried again by who handed it out, who keeps count.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bioplaus.benchmark.executor import STALL_SECONDS, JobError, Setup, settle
from bioplaus.benchmark.executors import ray_cluster, ray_worker
from bioplaus.benchmark.executors.cluster import ClusterExecutor, Ticket
from bioplaus.benchmark.executors.work import Origin
from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    from bioplaus.tasks.data_cache import Need
    from bioplaus.tasks.task import Task

_TICK_SECONDS = 0.2


@dataclass
class RayTicket(Ticket):
    sign: float | None = None
    """When it last gave a sign of life; None where it has not begun."""


class RayExecutor(ClusterExecutor[RayTicket]):
    """Nodes of a Ray cluster, one thread for each job."""

    name: ClassVar[str] = "ray"
    trouble: ClassVar[str] = "the Ray cluster is out of reach"
    ticket = RayTicket

    def __init__(
        self,
        slots: int = 0,
        device: str = "auto",
        timeout: float | None = STALL_SECONDS,
        address: str | None = None,
    ) -> None:
        """slots: jobs in flight, 0 for what the cluster holds. ConfigError for no cluster."""
        from bioplaus.system.processes import usable_cores

        self._ray = ray = ray_cluster.load_ray()
        self._owner = not ray.is_initialized()
        if self._owner:
            ray_cluster.connect(ray, address, slots or usable_cores())
        try:
            device = ray_cluster.device_of(ray, device)
            super().__init__(slots or ray_cluster.room(ray, device), device, timeout)
            self._gpu_memory = ray_cluster.smallest_gpu(ray) if device == "cuda" else 0
            self._board = self._beside_driver(ray_worker.ProgressBoard)
        except BaseException:
            if self._owner:
                ray.shutdown()
            raise
        self._perform = ray.remote(ray_worker.perform)
        self._parts: dict[tuple[Task, str], Any] = {}
        self._poll: Any = None
        self.start()

    @classmethod
    def open(cls, setup: Setup) -> Self:
        return cls(setup.jobs, setup.device, setup.timeout, setup.address)

    def _beside_driver(self, kind: type) -> Any:
        """An actor on the node of this process: it ends with it and with no other."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = self._ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        return self._ray.remote(kind).options(num_cpus=0, scheduling_strategy=here).remote()

    def turn(self) -> None:
        while ticket := self.next():
            try:
                reference = self._start(ticket)
            except (BioplausError, pickle.PicklingError, AttributeError, TypeError) as error:
                ticket.future.set_exception(JobError(f"{ticket.job.title}: {error}"))
            else:
                self.running[reference] = ticket
        self._collect()
        self._read_board()

    def cancel(self, reference: Any) -> None:
        self._ray.cancel(reference, force=True)

    def release(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing to clear up
            self._ray.kill(self._board)
        if self._owner:
            self._ray.shutdown()

    def _start(self, ticket: RayTicket) -> Any:
        job, need = ticket.job, ticket.job.need()
        resources = job.resources()
        gpus = 0.0
        if resources.gpu_bytes is not None:
            gpus = ray_cluster.gpu_fraction(resources.gpu_bytes, self._gpu_memory)
        task = self._perform.options(
            num_cpus=resources.cpus, num_gpus=gpus, max_retries=0, name=job.title
        )
        parts = [] if need is None else self._shared(need)
        origin = Origin(os.getcwd(), list(sys.argv))
        payload = pickle.dumps((job, need))
        return task.remote(payload, parts, self._board, ticket.number, origin)

    def _shared(self, need: Need) -> list[Any]:
        """References to the data, put where all can take them when they were first needed."""
        from bioplaus.benchmark.executors.shipping import pack_test, pack_training
        from bioplaus.tasks.data_cache import load
        from bioplaus.tasks.task import TaskData

        kinds = ["training", "test"] if need.test else ["training"]
        if not all((need.content, kind) in self._parts for kind in kinds):
            data = load(need)
            if (need.content, "training") not in self._parts:
                self._parts[need.content, "training"] = self._ray.put(pack_training(data))
            if isinstance(data, TaskData):
                self._parts[need.content, "test"] = self._ray.put(pack_test(data))
        return [self._parts[need.content, kind] for kind in kinds]

    def _collect(self) -> None:
        """Whatever has come back, after a tick at most."""
        references = list(self.running)
        if not references:
            self.over.wait(_TICK_SECONDS)
            return
        found, _ = self._ray.wait(references, timeout=_TICK_SECONDS)
        if found:
            found, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        for reference in found:
            ticket = self.running.pop(reference)
            try:
                kind, content = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                ticket.future.set_exception(
                    ray_cluster.error_of(self._ray, ticket.job.title, error)
                )
            else:
                settle(ticket.future, kind, content)

    def _read_board(self) -> None:
        """Pass on progress; a worker that has given no sign of life for too long is ended."""
        if self._poll is None:
            self._poll = self._board.take.remote()
        if not self._ray.wait([self._poll], timeout=0)[0]:
            return
        news, now = self._ray.get(self._poll), time.monotonic()
        self._poll = None
        for reference, ticket in list(self.running.items()):
            if ticket.number in news:
                ticket.sign = now
                progress = news[ticket.number]
                if progress is not None:
                    ticket.watch(progress)
            elif self._is_late(ticket, now):
                self.lose_silent(reference)

    def _is_late(self, ticket: RayTicket, now: float) -> bool:
        if ticket.sign is None or self.timeout is None:
            return False
        return now - ticket.sign > self.timeout
