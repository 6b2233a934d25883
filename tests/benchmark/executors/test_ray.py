"""Jobs on a Ray cluster of two nodes: the same records as here, whatever is lost on the way."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.executor import Executor, JobError, WorkerLost
from bioplaus.benchmark.executors import ray_cluster
from bioplaus.benchmark.executors.local import LocalExecutor
from bioplaus.benchmark.executors.ray import RayExecutor
from bioplaus.benchmark.plan import Place, expand
from bioplaus.benchmark.steps import JobStep
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, work
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.records.schema import Record, Tuning
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task
from bioplaus.training.progress import Progress
from tests.helpers.jobs import Examples, Told, quiet
from tests.helpers.ray_nodes import cluster_utils, fall, nodes, ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, where the driver is: what runs, runs on the nodes that come after."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[3])  # where workers find these jobs
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    ray_cluster.connect(ray, made.address, 0)
    yield made
    ray.shutdown()
    made.shutdown()
    del os.environ["PYTHONPATH"]


def test_jobs_run_on_nodes_and_failures_stay_theirs(cluster: Any) -> None:
    with nodes(cluster, 1), RayExecutor() as executor:
        assert (executor.slots, executor.device) == (1, "cpu")
        orders = ["work", "raise", "mistake", "fill the memory", "die"]
        futures = [executor.submit(Told(what), quiet) for what in orders]
        first, raised, mistaken, filled, died = futures
        pid, threads, argv = first.result(timeout=300)  # type: ignore[misc]
        assert pid != os.getpid() and threads == 1 and argv == sys.argv
        with pytest.raises(
            JobError, match=r"told to raise: ZeroDivisionError: planted \(line"
        ) as e:
            raised.result(timeout=300)
        assert not isinstance(e.value, WorkerLost), "it would raise again"
        with pytest.raises(JobError, match=r"^one clear line$"):
            mistaken.result(timeout=300)
        with pytest.raises(WorkerLost, match="fill the memory: its worker ran out of memory"):
            filled.result(timeout=300)
        with pytest.raises(WorkerLost, match="told to die: its worker process died"):
            died.result(timeout=300)
        executor.submit(Told("work"), quiet).result(timeout=300)


def test_a_job_that_hangs_is_lost_and_the_next_one_runs(cluster: Any) -> None:
    """Silence counts from its first sign of life: the start of a worker may take longer.

    Loading torch is silence too, and takes seconds where other tests run beside.
    """
    seen: list[Progress] = []
    with nodes(cluster, 1), RayExecutor(timeout=20.0) as executor:
        hung, last = (executor.submit(Told(what), seen.append) for what in ("hang", "work"))
        with pytest.raises(WorkerLost, match="told to hang: no progress for 20 s"):
            hung.result(timeout=300)
        last.result(timeout=300)
    assert seen and seen[0].steps == 2, "its progress was told while it hung"


RULES = [
    "backprop",
    "gaitprop",
    "feedback-alignment",
    "sign-symmetry",
    "kolen-pollack",
    "targetprop",
]
SUITE = f"""
name = "mine"
rules = {RULES}
tasks = ["tiny.toml", "other.toml"]
seeds = 2
epochs = 1
"""
TUNED = """
name = "tuned"
rules = ["backprop"]
tasks = ["tiny.toml"]
seeds = 1
epochs = 1
[tuning]
trials = 3
"""


def suite_file(tiny: Path, text: str) -> Path:
    other = (
        tiny.read_text().replace('"tiny"', '"other"').replace("batch_size = 50", "batch_size = 60")
    )
    tiny.with_name("other.toml").write_text(other)
    path = tiny.with_name("suite.toml")
    path.write_text(text)
    return path


class Audience(Spectator):
    """Counts."""

    def __init__(self) -> None:
        self.ends, self.losses = 0, 0

    def lost(self, step: JobStep, reason: str, again: int) -> None:
        self.losses += 1

    def ended(self, step: JobStep, result: Any, reason: str | None) -> None:
        self.ends += 1


def bench(suite: Path, results: Path, executor: Executor, audience: Spectator) -> Done:
    place, done = Place(Store(results), executor.device), Done()
    entries = expand(read_suite(str(suite))).entries
    with executor:
        drive([work(entry, place, done) for entry in entries], executor, audience)
    return done


def facts(item: Record | Tuning) -> dict[str, Any]:
    """All of a record but the time and the place."""
    return item.model_dump(mode="json", exclude={"timing", "provenance"})


def test_a_node_that_is_killed_changes_no_record(cluster: Any, tiny: Path, tmp_path: Path) -> None:
    """Two raylets, twelve cells, one raylet killed in the middle."""
    suite = suite_file(tiny, SUITE)
    bench(suite, tmp_path / "local", LocalExecutor(1), Spectator())
    with nodes(cluster, 1, 1) as (victim, survivor):
        audience, killed = Audience(), threading.Event()

        def kill() -> None:
            while audience.ends < 3:
                time.sleep(0.01)
            fall(cluster, victim)
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        executor = RayExecutor()
        assert executor.slots == 2
        done = bench(suite, tmp_path / "ray", executor, audience)
        assert killed.is_set() and survivor in cluster.worker_nodes
    here, there = (Store(tmp_path / name).read_all() for name in ("local", "ray"))
    assert not done.failures and not there.failures and not there.damaged
    assert len(there.records) == 24 and len({r.cell for r in there.records}) == 12
    assert audience.ends == 12, "no cell was trained twice to its end"
    assert {r.provenance["execution"] for r in (*here.records, *there.records)} == {"traced"}
    assert [facts(r) for r in there.records] == [facts(r) for r in here.records]
    noted = [r for r in there.records if "lost_attempts" in r.provenance]
    assert audience.losses == 1 and len(noted) == 2
    assert re.search("its (node|worker process) died", noted[0].provenance["lost_attempts"][0])


def test_tuning_takes_the_same_path(cluster: Any, tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, TUNED)
    bench(suite, tmp_path / "local", LocalExecutor(1), Spectator())
    with nodes(cluster, 1):
        bench(suite, tmp_path / "ray", RayExecutor(), Spectator())
    here, there = (Store(tmp_path / name).read_all() for name in ("local", "ray"))
    assert [facts(t) for t in there.tunings] == [facts(t) for t in here.tunings]
    assert [facts(r) for r in there.records] == [facts(r) for r in here.records]
    assert len(there.tunings) == 1 and len(there.records) == 1


def test_data_come_from_the_object_store(cluster: Any) -> None:
    """What files of the node say does not matter; a trial's data have no test split."""
    data = read_task("digits-square").load_data()
    with nodes(cluster, 1), RayExecutor() as executor:
        training = executor.submit(Examples(False), quiet).result(timeout=300)
        whole = executor.submit(Examples(True), quiet).result(timeout=300)
    train, test = data.train.checksum, data.test.checksum
    sizes = {name: size for name, size in data.sizes().items() if name != "test"}
    assert training == (train, None, {"train": data.checksums["train"]}, sizes)
    assert whole == (train, test, data.checksums, data.sizes())


def test_a_cluster_that_goes_ends_the_benchmark_with_one_line(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a failure of each of its cells: the same command goes on when it is back."""
    with nodes(cluster, 1), RayExecutor() as executor:

        def gone(*_: object, **__: object) -> None:
            raise ConnectionError("planted")

        monkeypatch.setattr(ray, "wait", gone)
        future = executor.submit(Told("work"), quiet)
        with pytest.raises(BioplausError, match="the Ray cluster is out of reach") as error:
            future.result(timeout=300)
        assert not isinstance(error.value, JobError)
        with pytest.raises(BioplausError, match="out of reach: ConnectionError: planted"):
            executor.submit(Told("work"), quiet).result(timeout=300)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")
def test_devices_are_the_clusters(cluster: Any) -> None:
    with nodes(cluster, 1):
        for device, message in [("cuda", "no node .* has a GPU"), ("cuda:1", "Ray picks the GPU")]:
            with pytest.raises(ConfigError, match=message):
                RayExecutor(device=device)
    with nodes(cluster, 1, num_gpus=2):
        with RayExecutor(device="cpu") as executor:
            assert executor.slots == 1
        with pytest.raises(ConfigError, match="a GPU that its torch does not see"):
            RayExecutor()
    with pytest.raises(ConfigError, match="no CPU to run a job on"):
        RayExecutor()
