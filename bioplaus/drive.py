"""The driver of a benchmark: hands jobs to an executor and keeps what comes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bioplaus.executor import Executor, JobError, WorkerLost
from bioplaus.steps import Step
from bioplaus.trainer import Progress

RETRIES = 2
"""How often a job whose worker was lost is tried again."""

Work = Iterator[list[Step]]
"""A piece of work: lists of steps, each asked for when those before have run."""


class Spectator:
    """Told what happens; this one does not care."""

    def started(self, step: Step) -> None:
        """A job was handed to the executor."""

    def progressed(self, step: Step, progress: Progress) -> None:
        """Where it stands; from any thread."""

    def lost(self, step: Step, reason: str, again: int) -> None:
        """Its worker was lost; it is tried for the `again`-th time more."""

    def ended(self, step: Step, result: Any, reason: str | None) -> None:
        """It gave a result, or failed for a reason."""


@dataclass
class _Running:
    work: Work
    steps: int
    """How many of its steps are not done."""
    losses: dict[int, list[str]] = field(default_factory=dict)
    """id of a step -> why its workers were lost."""


def drive(works: Iterable[Work], executor: Executor, spectator: Spectator) -> None:
    """All the works, the first ones first; a work begins once a slot would stand idle.

    What a step gives is kept as soon as it is there. An exception, KeyboardInterrupt among
    them, passes through: the caller closes the executor.
    """
    waiting = deque(works)
    running: dict[Future[Any], tuple[Step, _Running]] = {}
    while waiting or running:
        while waiting and len(running) < executor.slots:
            _advance(_Running(waiting.popleft(), 0), executor, spectator, running)
        if not running:
            continue
        # a timeout, because some platforms do not hear Ctrl-C during an endless wait
        for future in wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done:
            step, work = running.pop(future)
            losses = work.losses.setdefault(id(step), [])
            if _is_lost(step, future, losses, spectator):
                running[_submit(step, executor, spectator)] = step, work
                continue
            _finish(step, future, losses, spectator)
            work.steps -= 1
            if not work.steps:
                _advance(work, executor, spectator, running)


def _advance(
    work: _Running,
    executor: Executor,
    spectator: Spectator,
    running: dict[Future[Any], tuple[Step, _Running]],
) -> None:
    """Hand over the next steps of a work, if there are any."""
    for steps in work.work:
        work.steps = len(steps)
        for step in steps:
            spectator.started(step)
            running[_submit(step, executor, spectator)] = step, work
        if steps:
            return


def _submit(step: Step, executor: Executor, spectator: Spectator) -> Future[Any]:
    return executor.submit(step.job, partial(spectator.progressed, step))


def _is_lost(step: Step, future: Future[Any], losses: list[str], spectator: Spectator) -> bool:
    """Whether its worker was lost, and not too often for another try."""
    error = future.exception()
    if not isinstance(error, WorkerLost) or len(losses) == RETRIES:
        return False
    losses.append(str(error))
    step.lost(str(error))
    spectator.lost(step, str(error), len(losses))
    return True


def _finish(step: Step, future: Future[Any], losses: list[str], spectator: Spectator) -> None:
    try:
        result = future.result()
    except JobError as error:
        reason = str(error)
        if losses:
            reason += f" (tried {len(losses) + 1} times; before that: {'; '.join(losses)})"
        step.failed(reason)
        spectator.ended(step, None, reason)
    else:
        step.keep(step.job.noting(result, losses))
        spectator.ended(step, result, None)
