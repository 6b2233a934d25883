"""Options that say where jobs run, and the executor that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bioplaus.benchmark.executor import STALL_SECONDS
from bioplaus.cli.options import device_option, executor_option, jobs_option

if TYPE_CHECKING:
    from bioplaus.benchmark.executor import Executor

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Workers:
    """What the options say."""

    executor: str
    jobs: int
    device: str
    address: str | None
    timeout: float

    def open(self) -> Executor:
        """The executor; ConfigError for what it cannot do."""
        from bioplaus.benchmark.executor import Setup
        from bioplaus.benchmark.opened import open_executor

        setup = Setup(self.jobs, self.device, self.timeout or None, self.address)
        return open_executor(self.executor, setup)


def workers_options(command: F) -> F:
    """--executor, --address, --jobs, --timeout and --device."""
    options = (
        executor_option,
        click.option(
            "--address",
            metavar="auto|HOST:PORT",
            help="The Ray cluster.  [default: a new one of this machine alone]",
        ),
        jobs_option,
        click.option(
            "--timeout",
            type=click.FloatRange(min=0),
            default=STALL_SECONDS,
            show_default=True,
            metavar="SECONDS",
            help="A worker without a sign of progress for so long is taken to hang: it is ended, "
            "and its job tried again, twice at most. Compiling a step and evaluating on a large "
            "data set give none, for minutes. 0: wait for ever.",
        ),
        device_option,
    )
    for option in reversed(options):
        command = option(command)
    return command
