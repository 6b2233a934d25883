"""The examples that jobs train on: read from this machine's files, or handed over.

Jobs ask here and nowhere else, so whoever runs them may provide what they will ask for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bioplaus.tasks.task import Task, TaskData, TrainingData

_HELD = 4
"""Data sets that a process keeps."""


@dataclass(frozen=True)
class Need:
    """The data of a task, which tasks on the same data share; with or without the test split."""

    content: Task
    test: bool

    @classmethod
    def of(cls, task: Task, test: bool) -> Need:
        """What training on that task needs."""
        other: dict[str, object] = {"name": "data", "description": "", "epochs": 1, "loss": "mse"}
        other |= dict.fromkeys(
            (
                "depth",
                "width",
                "activation",
                "goal",
                "targets",
                "metric",
                "augment",
                "normalise",
                "schedule",
                "pruning",
                "continual",
                "evaluate_every",
                "early_stopping",
            )
        )
        return cls(task.model_copy(update=other | {"optimizer": None, "network": None}), test)


_held: dict[Need, TrainingData] = {}
_lock = threading.Lock()


def load(need: Need) -> TrainingData:
    """The data, TaskData where the test split is needed; DataError where they are not here."""
    with _lock:
        data = _held.get(need)
        if data is None and not need.test:
            data = _without_test(_held.get(Need(need.content, True)))
    if data is None:
        data = need.content.load_data() if need.test else need.content.load_training_data()
    hand_over(need, data)
    return data


def load_data(task: Task) -> TaskData:
    """All of a task's data."""
    data = load(Need.of(task, test=True))
    assert isinstance(data, TaskData)
    return data


def is_held(need: Need) -> bool:
    """Whether it can be had without reading a file."""
    with _lock:
        return need in _held


def hand_over(need: Need, data: TrainingData) -> None:
    """Keep data for who needs them; what was not asked for the longest goes."""
    with _lock:
        _held.pop(need, None)
        _held[need] = data
        while len(_held) > _HELD:
            del _held[next(iter(_held))]


def clear() -> None:
    """Forget everything: files are read again."""
    with _lock:
        _held.clear()


def _without_test(data: TrainingData | None) -> TrainingData | None:
    """The same tensors; TrainingData has no place for a test split."""
    if data is None:
        return None
    return TrainingData(
        train=data.train,
        validation=data.validation,
        checksums={"train": data.checksums["train"]},
        scale=data.scale,
        classes=data.classes,
    )
