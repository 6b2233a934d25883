"""Options that several commands share, and the values they take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bioplaus.errors import ConfigError, shown
from bioplaus.plugins import registry
from bioplaus.system.paths import expanded

MAX_SEEDS = 10_000
LARGEST_SEED = 999_999
"""Those of a tuning's trials start above: no benchmark uses them."""

F = TypeVar("F", bound=Callable[..., Any])


class NumberType(click.ParamType):  # type: ignore[type-arg]
    """A number from 1 up, or `auto`, which is 0."""

    name = "number"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        if value == "auto":
            return 0
        number = _bounded(value, 10_000) if value.isdecimal() else None
        if not number:
            self.fail(f"{shown(value)}: give a number from 1 to 10,000, or auto", param, ctx)
        return number


class CountsType(click.ParamType):  # type: ignore[type-arg]
    """`1,4,16`."""

    name = "numbers"

    def convert(
        self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        parts = [part.strip() for part in value.split(",")]
        numbers = [_bounded(part, 10_000) if part.isdecimal() else None for part in parts]
        if not all(numbers):
            self.fail(f"{shown(value)}: give numbers such as 1,4,16, up to 10,000", param, ctx)
        return sorted({number for number in numbers if number})


class SeedsType(click.ParamType):  # type: ignore[type-arg]
    """`5` is the first five seeds; `0-4,7` are those, `0-0` is seed 0 alone."""

    name = "seeds"

    def convert(
        self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return parse_seeds(value)
        except ValueError as error:
            return self.fail(f"{shown(value)}: {error}", param, ctx)


def parse_seeds(text: str) -> list[int]:
    """The seeds that `--seeds` names; ValueError saying what is wrong. Checked before listed."""
    if text.isdecimal():
        number = _bounded(text, MAX_SEEDS)
        if number is None or number < 1:
            raise ValueError(
                f"between 1 and {MAX_SEEDS:,} seeds, this being how many; a seed alone is a "
                "range: 0-0, 7-7"
            )
        return list(range(number))
    seeds: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        if match is None:
            raise ValueError("give a number, or a list such as 0-4,7")
        first = _bounded(match[1], LARGEST_SEED)
        last = _bounded(match[2] or match[1], LARGEST_SEED)
        if first is None or last is None:
            raise ValueError(f"seeds go from 0 to {LARGEST_SEED:,}")
        if last < first:
            raise ValueError(f"{part.strip()} runs backwards: write {last}-{first}")
        if last - first >= MAX_SEEDS:
            raise ValueError(f"more than {MAX_SEEDS:,} seeds, which are the most")
        seeds |= set(range(first, last + 1))
        if len(seeds) > MAX_SEEDS:
            raise ValueError(f"more than {MAX_SEEDS:,} seeds, which are the most")
    return sorted(seeds)


def _bounded(digits: str, largest: int) -> int | None:
    """The number, None where it is larger; however many digits there are."""
    number = int(digits[:20])
    return number if len(digits) <= 20 and number <= largest else None


class HomePath(click.Path):
    """A path in which `~` is the home folder, as in `--results=~/here`, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("~"):
            try:
                value = str(expanded(value))
            except ConfigError as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


def results_option(command: F) -> F:
    """--results DIR."""
    return click.option(
        "--results",
        type=HomePath(),
        default="results",
        show_default=True,
        metavar="DIR",
        help="Folder of the records.",
    )(command)


def device_option(command: F) -> F:
    """--device NAME."""
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
    )(command)


def precision_option(command: F) -> F:
    """--precision fp32|tf32|fp64."""
    return click.option(
        "--precision",
        type=click.Choice(["fp32", "tf32", "fp64"]),
        default="fp32",
        show_default=True,
        help="tf32 is faster than fp32 on a GPU, and less exact.",
    )(command)


def compile_option(default: str, help: str) -> Callable[[F], F]:
    """--compile auto|on|off."""
    return click.option(
        "--compile",
        type=click.Choice(["auto", "on", "off"]),
        default=default,
        show_default=True,
        help=help,
    )


def set_option(help: str) -> Callable[[F], F]:
    """--set NAME=VALUE, as `assignments`."""
    return click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help=help)


def jobs_option(command: F) -> F:
    """--jobs N|auto; auto is 0."""
    return click.option(
        "--jobs",
        type=NumberType(),
        default="auto",
        show_default=True,
        help="Jobs at a time: a number, or auto for one per core (one on a GPU; on a cluster, "
        "what it holds).",
    )(command)


def executor_option(command: F) -> F:
    """--executor NAME."""
    return click.option(
        "--executor",
        default="local",
        show_default=True,
        type=click.Choice(registry.names("executor")),
        help="Where jobs run.",
    )(command)


def storage_option(command: F) -> F:
    """--storage FILE|URL."""
    return click.option(
        "--storage",
        type=HomePath(),
        metavar="FILE|URL",
        help="Where Optuna keeps the trials.  [default: DIR/tuning.journal]",
    )(command)


def format_option(names: Sequence[str], help: str, default: str = "table") -> Callable[[F], F]:
    """--format NAME, as `form`."""
    return click.option(
        "--format",
        "form",
        default=default,
        show_default=True,
        type=click.Choice(names),
        help=help,
    )


def output_option(help: str) -> Callable[[F], F]:
    """-o FILE, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=HomePath(dir_okay=False, writable=True),
        metavar="FILE",
        help=help,
    )
