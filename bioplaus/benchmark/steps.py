"""Steps: jobs with what to do when they end. A piece of work is a generator of lists of them.

In the place of a list it may say `Later`: what it would do next, another process is doing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from bioplaus.benchmark.jobs import Job
from bioplaus.running.taking_turns import Later


@dataclass(frozen=True)
class JobStep:
    """A job, what to do with what it gives, and what to do with the reason if it fails.

    All are called in the process that handed the job out, one at a time, as soon as it ends.
    """

    job: Job[Any]
    keep: Callable[[Any], object]
    failed: Callable[[str], object]
    lost: Callable[[str], object] = lambda reason: None
    """Its worker was lost, for this reason, and the job is tried again."""


Work: TypeAlias = Generator["list[JobStep] | Later"]
"""A piece of work: lists of steps, each asked for when those before have run."""
