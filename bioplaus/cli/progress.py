"""A progress bar on a terminal, a few plain lines elsewhere; always on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from bioplaus.benchmark.driver import RETRIES, Spectator
from bioplaus.benchmark.estimate import in_words
from bioplaus.benchmark.steps import JobStep, Work
from bioplaus.cli.words import count
from bioplaus.experiments.experiment import Experiment
from bioplaus.records.metric import ACCURACY, metric_of
from bioplaus.records.schema import Record, Trial
from bioplaus.system.secrets import redacted
from bioplaus.training.progress import Progress as Where

_LINE_EVERY_SECONDS = 15.0
_TOLD_FROM = 0.02
"""The share of a benchmark after which a rate is more than a guess."""


def _bar(console: Console, *more: ProgressColumn) -> Progress:
    """Bars that show on a terminal only."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        *more,
        console=console,
        disable=not console.is_terminal,
    )


class TrainingDisplay:
    """Follows the training of one experiment after the other."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self._console = Console(stderr=True)
        self._bar = _bar(self._console, TimeRemainingColumn())
        self._rows: dict[int, TaskID] = {}
        self._known: list[Experiment] = []  # so that no other has the id of one of them
        for experiment in experiments:
            self._row(experiment)
        self._last_line = time.monotonic()

    def __enter__(self) -> TrainingDisplay:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for row in self._bar.tasks:
            row.visible = row.total is not None  # what was not trained has no bar
        self._bar.__exit__(kind, error, trace)

    def update(self, experiment: Experiment, where: Where) -> None:
        """Told after every step."""
        if self._console.is_terminal:
            self._bar.update(
                self._row(experiment), completed=where.step, total=where.steps, note=_note(where)
            )
        else:
            self._line(_name(experiment), where)

    def _row(self, experiment: Experiment) -> TaskID:
        """Its bar, made where there is none yet."""
        if id(experiment) not in self._rows:
            self._known.append(experiment)
            self._rows[id(experiment)] = self._bar.add_task(_name(experiment), total=None, note="")
        return self._rows[id(experiment)]

    def tell(self, line: str) -> None:
        """A line beside the bars."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, name: str, where: Where) -> None:
        now = time.monotonic()
        if now - self._last_line > _LINE_EVERY_SECONDS or where.step == where.steps:
            self._last_line = now
            percent = 100 * where.step // where.steps
            self._console.print(f"{name}: {percent} % {_note(where)}", markup=False, soft_wrap=True)


def _result(result: Any) -> str:
    """What a job gave, in a few words."""
    if result and all(isinstance(item, Trial) for item in result):
        return "validation " + ", ".join(_percent([t.validation_accuracy]) for t in result)
    if result and all(isinstance(item, Record) for item in result):
        diverged = sum(r.status == "diverged" for r in result)
        lost = f", {diverged} diverged" if diverged else ""
        return f"{count(len(result), 'seed')}, test {_test(result)}{lost}"
    return "done"


def _test(records: Sequence[Record]) -> str:
    """The mean of what their task is judged by."""
    metric = metric_of(records[0].configuration)
    known = [v for r in records if (v := metric.score(r)) is not None]
    if not known:
        return "unknown"
    words = "" if metric == ACCURACY else f"{metric.words} "
    return words + metric.text(sum(known) / len(known), 1)


def _percent(accuracies: Iterable[float | None]) -> str:
    known = [a for a in accuracies if a is not None]
    return f"{100 * sum(known) / len(known):.1f} %" if known else "unknown"


def _name(experiment: Experiment) -> str:
    return f"{experiment.rule.name} {experiment.label}".strip()


def _note(where: Where) -> str:
    if where.step == 0:
        return "preparing the step"
    parts = [f"epoch {where.epoch}/{where.epochs}"]
    if where.loss is not None:
        parts.append(f"loss {where.loss:.4f}")
    if where.validation_accuracy is not None:
        parts.append(f"validation {100 * where.validation_accuracy:.1f} %")
    return "  ".join(parts)


class TimeLeft:
    """How much of a benchmark is done, and how long the rest will take at that rate.

    What was there before counts for nothing; all other works count the same, and so do the
    waves of one.
    """

    def __init__(self, waves: Sequence[int], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._waves = list(waves)
        self._begun = [0] * len(waves)
        self._steps: list[dict[int, float]] = [{} for _ in waves]

    def begins(self, work: int, steps: Sequence[int]) -> None:
        """A wave of a work, of these steps; the one before is over."""
        self._begun[work] += 1
        self._steps[work] = dict.fromkeys(steps, 0.0)

    def stands(self, step: int, share: float) -> None:
        """So much of a step is done."""
        for steps in self._steps:
            if step in steps:
                steps[step] = share

    def ends(self, work: int) -> None:
        """All of a work is done."""
        self._begun[work] = self._waves[work] + 1
        self._steps[work] = {}

    @property
    def share(self) -> float:
        """What is done of all, from 0 to 1."""
        counted = [self._of(work) for work, waves in enumerate(self._waves) if waves]
        return sum(counted) / len(counted) if counted else 1.0

    def _of(self, work: int) -> float:
        steps = self._steps[work].values()
        now = sum(steps) / len(steps) if steps else 0.0
        return max(0.0, min(1.0, (self._begun[work] - 1 + now) / self._waves[work]))

    @property
    def words(self) -> str:
        """`about 12 min left`; nothing where that cannot be told yet, or nothing is left."""
        share, passed = self.share, self._clock() - self._start
        if not _TOLD_FROM <= share < 1.0 or passed < 1.0:
            return ""
        return f"about {in_words(passed * (1 - share) / share)} left"


class BenchDisplay(Spectator):
    """Follows a benchmark: a bar for all of it, and one for each job that runs."""

    def __init__(self, waves: Sequence[int]) -> None:
        """waves: of jobs that each work will take, one after the other; 0 where it is done."""
        self._console = Console(stderr=True)
        self._bar = _bar(self._console)
        self._all = self._bar.add_task("cells", total=len(waves), note="")
        self._works, self._done = len(waves), 0
        self._rows: dict[int, TaskID] = {}
        self._told: set[str] = set()
        self._left = TimeLeft(waves)

    def counted(self, works: Iterable[Work]) -> Iterator[Work]:
        """The same works, noting when each is done."""
        for number, work in enumerate(works):
            yield self._follow(number, work)

    def _follow(self, number: int, work: Work) -> Work:
        try:
            for steps in work:
                if isinstance(steps, list):
                    self._left.begins(number, [id(step) for step in steps])
                yield steps
        finally:
            work.close()
        self._done += 1
        self._left.ends(number)
        self._bar.update(self._all, completed=self._done, note=self._left.words)

    def __enter__(self) -> BenchDisplay:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for row in self._rows.values():
            self._bar.update(row, visible=False)
        self._bar.__exit__(kind, error, trace)

    def progressed(self, step: JobStep, progress: Where) -> None:
        """The bar of a job appears when it starts to train."""
        self._left.stands(id(step), progress.step / max(1, progress.steps))
        if not self._console.is_terminal:
            return
        if id(step) not in self._rows:
            self._rows[id(step)] = self._bar.add_task(step.job.title, total=None, note="")
        self._bar.update(
            self._rows[id(step)],
            completed=progress.step,
            total=progress.steps,
            note=_note(progress),
        )
        self._bar.update(self._all, note=self._left.words)

    def lost(self, step: JobStep, reason: str, again: int) -> None:
        """One line for each worker that was lost."""
        self._line(step, f"{reason}; trying again ({again} of {RETRIES})")

    def put_off(self, reason: str) -> None:
        """One line for whatever is waited for."""
        if reason not in self._told:
            self._told.add(reason)
            self._bar.console.print(reason, markup=False, highlight=False, soft_wrap=True)

    def ended(self, step: JobStep, result: Any, reason: str | None) -> None:
        """One line for each job."""
        outcome = f"failed: {reason}" if reason is not None else _result(result)
        self._left.stands(id(step), 1.0)
        words = self._left.words
        self._line(step, f"{step.job.title}: {outcome}{f'; {words}' if words else ''}")

    def _line(self, step: JobStep, text: str) -> None:
        """In the place of its bar."""
        if id(step) in self._rows:
            self._bar.remove_task(self._rows.pop(id(step)))
        self._bar.console.print(
            f"[{self._done}/{self._works}] {redacted(text)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
