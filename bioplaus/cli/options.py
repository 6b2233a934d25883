"""Options that several commands share, and the values they take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bioplaus.plugins import registry

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
        if not value.isdecimal() or not 1 <= int(value) <= 10_000:
            self.fail(f"{value!r}: give a number from 1 to 10,000, or auto", param, ctx)
        return int(value)


class CountsType(click.ParamType):  # type: ignore[type-arg]
    """`1,4,16`."""

    name = "numbers"

    def convert(
        self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and 1 <= int(part) <= 10_000 for part in parts):
            self.fail(f"{value!r}: give numbers such as 1,4,16", param, ctx)
        return sorted({int(part) for part in parts})


class SeedsType(click.ParamType):  # type: ignore[type-arg]
    """`5` is the first five seeds; `0-4,7` are those."""

    name = "seeds"

    def convert(
        self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        if value.isdecimal():
            return self._checked(list(range(int(value))), value, param, ctx)
        seeds: set[int] = set()
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            if match is None:
                self.fail(f"{value!r}: give a number, or a list such as 0-4,7", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                self.fail(f"{value!r}: {part.strip()} runs backwards", param, ctx)
            if last - first > 10_000:
                self.fail(f"{value!r}: more than 10,000 seeds", param, ctx)
            seeds |= set(range(first, last + 1))
        return self._checked(sorted(seeds), value, param, ctx)

    def _checked(
        self,
        seeds: list[int],
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> list[int]:
        if not 1 <= len(seeds) <= 10_000:
            self.fail(f"{value!r}: between 1 and 10,000 seeds", param, ctx)
        return seeds


def results_option(command: F) -> F:
    """--results DIR."""
    return click.option(
        "--results",
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
        type=click.Path(dir_okay=False, writable=True),
        metavar="FILE",
        help=help,
    )
