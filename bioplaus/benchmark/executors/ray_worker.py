"""What runs on the nodes of a Ray cluster: one job at a time in each of its processes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bioplaus.benchmark.executors.work import Kind, News, Origin, outcome, use_one_thread

if TYPE_CHECKING:
    from bioplaus.tasks.data_cache import Need
    from bioplaus.training.progress import Progress

NEWS_EVERY_SECONDS = 1.0


class ProgressBoard:
    """An actor beside the driver, where workers note how far they are."""

    def __init__(self) -> None:
        self._news: dict[int, Progress | None] = {}

    def note(self, number: int, progress: Progress | None) -> None:
        """Job `number` stands there; None while it begins."""
        self._news[number] = progress

    def take(self) -> dict[int, Progress | None]:
        """What was noted since the last time."""
        news, self._news = self._news, {}
        return news


def perform(
    payload: bytes, parts: Sequence[Any], board: Any, number: int, origin: Origin
) -> tuple[Kind, object]:
    """Run a pickled job on the data of `parts`, references to what `shipping` packed."""
    board.note.remote(number, None)
    use_one_thread()
    origin.resemble()
    try:
        job, need = pickle.loads(payload)
    except Exception as error:  # a plugin that is not installed on this node
        return "failed", (
            f"a node of the cluster cannot load the job: {type(error).__name__}: {error}; "
            "bioplaus and its plugins must be the same on all nodes"
        )
    board.note.remote(number, None)  # a slow start is no standstill
    if need is not None:
        _provide(need, parts)
    return outcome(
        job, News(lambda progress: board.note.remote(number, progress), NEWS_EVERY_SECONDS)
    )


def _provide(need: Need, parts: Sequence[Any]) -> None:
    """Have the data at hand: views of the node's object store, no copies."""
    import ray

    from bioplaus.benchmark.executors.shipping import unpack
    from bioplaus.tasks.data_cache import hand_over, is_held

    if not is_held(need):
        training, *test = ray.get(list(parts))
        hand_over(need, unpack(training, test[0] if test else None))


def gpu_memory() -> int:
    """Bytes of the GPU that Ray gave to this process; 0 where torch sees none."""
    import torch

    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.get_device_properties(0).total_memory)
