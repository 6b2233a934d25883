"""The driver of a benchmark: hands jobs to an executor and keeps what comes back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bioplaus.benchmark.executor import Executor, JobError, WorkerLost
from bioplaus.benchmark.steps import JobStep, Work
from bioplaus.errors import BioplausError, PluginError
from bioplaus.running.taking_turns import Later
from bioplaus.system.blame import described
from bioplaus.training.progress import Progress

RETRIES = 2
"""How often a job whose worker was lost is tried again."""
_PAUSE_SECONDS = 1.0
"""Between two looks at work that was put off."""


class Spectator:
    """Told what happens; this one does not care."""

    def started(self, step: JobStep) -> None:
        """A job was handed to the executor."""

    def progressed(self, step: JobStep, progress: Progress) -> None:
        """Where it stands; from any thread."""

    def lost(self, step: JobStep, reason: str, again: int) -> None:
        """Its worker was lost; it is tried for the `again`-th time more."""

    def ended(self, step: JobStep, result: Any, reason: str | None) -> None:
        """It gave a result, or failed for a reason."""

    def put_off(self, reason: str) -> None:
        """A work has to wait for another process; told again at every look."""


@dataclass
class _Running:
    work: Work
    steps: int = 0
    """How many of its steps are not done."""
    losses: dict[int, list[str]] = field(default_factory=dict)
    """id of a step -> why its workers were lost."""


def drive(works: Iterable[Work], executor: Executor, spectator: Spectator) -> None:
    """All the works, the first ones first; a work begins once a slot would stand idle.

    A work that says `Later` goes to the end of the queue. What a step gives is kept as soon
    as it is there. An exception, KeyboardInterrupt among them, passes through, and the works
    are closed, so that they let go of what they hold: the caller closes the executor.
    """
    waiting = deque(_Running(work) for work in works)
    running: dict[Future[Any], tuple[JobStep, _Running]] = {}
    begun = waiting.copy()
    try:
        while waiting or running:
            # once around: what is put off is asked again after a pause
            for _ in range(len(waiting)):
                if len(running) >= executor.slots:
                    break
                work = waiting.popleft()
                if _advance(work, executor, spectator, running):
                    waiting.append(work)
            if not running:
                if waiting:
                    time.sleep(_PAUSE_SECONDS)
                continue
            # a timeout, because some platforms do not hear Ctrl-C during an endless wait
            ready = wait(running, timeout=_PAUSE_SECONDS, return_when=FIRST_COMPLETED).done
            for future in ready | {f for f in running if f.cancelled()}:
                step, work = running.pop(future)
                _check_outcome(future, executor)
                losses = work.losses.setdefault(id(step), [])
                if _is_lost(step, future, losses, spectator):
                    running[_submit(step, executor, spectator)] = step, work
                    continue
                _finish(step, future, losses, spectator)
                work.steps -= 1
                if not work.steps and _advance(work, executor, spectator, running):
                    waiting.append(work)
    finally:
        for work in begun:
            work.work.close()


def _advance(
    work: _Running,
    executor: Executor,
    spectator: Spectator,
    running: dict[Future[Any], tuple[JobStep, _Running]],
) -> bool:
    """Hand over the next steps of a work, if there are any; whether it is put off instead."""
    for steps in work.work:
        if isinstance(steps, Later):
            spectator.put_off(steps.reason)
            return True
        work.steps = len(steps)
        for step in steps:
            spectator.started(step)
            running[_submit(step, executor, spectator)] = step, work
        if steps:
            return False
    return False


def _submit(step: JobStep, executor: Executor, spectator: Spectator) -> Future[Any]:
    return executor.submit(step.job, partial(spectator.progressed, step))


def _check_outcome(future: Future[Any], executor: Executor) -> None:
    """PluginError where an executor gave up a job, or raised an error of its own for it."""
    if future.cancelled():
        raise PluginError(f"the executor {executor.name} cancelled a job: it must end each one")
    error = future.exception()
    if error is not None and not isinstance(error, BioplausError):
        raise PluginError(
            f"the executor {executor.name} gave {described(error)} for a job: what a job raises is "
            "a JobError of its future"
        ) from error


def _is_lost(step: JobStep, future: Future[Any], losses: list[str], spectator: Spectator) -> bool:
    """Whether its worker was lost, and not too often for another try."""
    error = future.exception()
    if not isinstance(error, WorkerLost) or len(losses) == RETRIES:
        return False
    losses.append(str(error))
    step.lost(str(error))
    spectator.lost(step, str(error), len(losses))
    return True


def _finish(step: JobStep, future: Future[Any], losses: list[str], spectator: Spectator) -> None:
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
