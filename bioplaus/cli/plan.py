"""What `bioplaus bench --dry-run` prints: what is left to run, and how long it may take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from bioplaus.cli.words import count
from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    from bioplaus.benchmark.estimate import Speeds
    from bioplaus.benchmark.plan import Benchmark, Left, Place
    from bioplaus.cli.workers import Workers
    from bioplaus.records.schema import Record


def show_plan(
    benchmark: Benchmark,
    place: Place,
    asked: Workers,
    nodes: int | None,
    gpus_per_node: int | None,
) -> None:
    """What is left of each cell, and how long all of it may take."""
    from bioplaus.benchmark.estimate import in_words, seconds, speeds, total
    from bioplaus.benchmark.executor import Setup, room_here
    from bioplaus.benchmark.plan import left

    lefts = left(benchmark, place)
    records = place.store.read_all().records if os.path.isdir(place.store.folder) else []
    elsewhere, sources = _is_elsewhere(asked.device), list[str]()
    if elsewhere:
        records = [r for r in records if r.provenance.get("device_type") == "cuda"]
    known = speeds(records)
    if elsewhere:
        from bioplaus.benchmark.shipped_speeds import shipped_speeds

        there, sources = shipped_speeds([item for item in lefts if not item.refused])
        known = {**there, **known}
    elif nodes is None or gpus_per_node is None:
        known = {**known, **_timed(lefts, known, place, asked)}
    for item in lefts:
        if item.refused:
            click.echo(f"{item.entry.title}: will not run: {item.refused}")
            continue
        tuning = f"{count(item.trials, 'trial')}, then " if item.trials else ""
        time = seconds(item, known)
        click.echo(
            f"{item.entry.title}: {tuning}{count(len(item.seeds), 'seed')}; "
            + ("time unknown" if time is None else f"about {in_words(time)}")
        )
    lefts = [item for item in lefts if not item.refused]
    if not benchmark.entries:
        click.echo("Nothing of it can run here.")
        return
    if not lefts:
        click.echo("Nothing is left to run.")
        return
    if nodes is not None:
        _show_simulation(lefts, records, known, place, nodes, asked.jobs, gpus_per_node)
        return
    slots = (asked.jobs or 1) if elsewhere else room_here(asked.executor, Setup(asked.jobs))[0]
    time, unknown = total(lefts, known, slots)
    click.echo(
        f"{len(lefts)} of {len(benchmark.entries)} cells to run on {count(slots, 'worker')}: "
        + (f"about {in_words(time)}" if time else "no speed seen yet")
        + (f", and {count(unknown, 'cell')} of unknown time" if unknown and time else "")
    )
    if elsewhere:
        told = f"from the shipped table: {'; '.join(sources)}" if sources else "none in the table"
        click.echo(f"torch sees no CUDA device here; speeds {told}")


def _is_elsewhere(device: str) -> bool:
    """Whether the plan is for a GPU and this machine has none: nothing of it can be timed here."""
    import torch

    return device.partition(":")[0] == "cuda" and not torch.cuda.is_available()


def _timed(lefts: Sequence[Left], known: Speeds, place: Place, asked: Workers) -> Speeds:
    """The speed of what no record tells of, from a few steps on this machine."""
    from rich.console import Console

    from bioplaus.benchmark.pace import timed
    from bioplaus.system.device import resolve_device

    here = replace(place, device=str(resolve_device(asked.device)))
    with Console(stderr=True).status("Timing a few steps of each cell ...") as status:
        return timed(
            [item for item in lefts if not item.refused], known, here,
            lambda what: status.update(f"Timing a few steps of {what} ..."),
        )  # fmt: skip


def _show_simulation(
    lefts: Sequence[Left],
    records: Sequence[Record],
    known: Speeds,
    place: Place,
    nodes: int,
    jobs: int,
    gpus_per_node: int | None,
) -> None:
    """Time, utilisation and critical path on so many machines."""
    from bioplaus.benchmark.estimate import in_words, setups, waves
    from bioplaus.benchmark.simulate import simulate
    from bioplaus.system.processes import usable_cores

    each = jobs or gpus_per_node or usable_cores()
    setup = setups(records)
    there = replace(place, device="cpu" if gpus_per_node is None else "cuda")
    found = [(item, waves(item, known, setup, there)) for item in lefts]
    works = [(item, work) for item, work in found if work is not None]
    if not works:
        raise BioplausError(
            "no record says how fast any of these cells trains; "
            "run a suite of them with one seed first, into the same --results"
        )
    plan = simulate([work for _, work in works], nodes * each)
    machines = f"{count(nodes, 'node')} of {count(each, 'worker')}"
    click.echo(
        f"{count(plan.jobs, 'job')} on {machines}: about {in_words(plan.seconds)}, "
        f"workers busy {100 * plan.utilisation:.2g} % of it"
    )
    assert plan.critical is not None
    item, work = works[plan.critical]
    click.echo(
        f"Critical path: {in_words(plan.critical_path)}, {item.entry.title} "
        f"({count(len(work), 'wave')}, one after the other); no number of nodes is quicker"
    )
    click.echo(f"On one worker: {in_words(plan.total)}")
    if len(works) < len(lefts):
        click.echo(f"Not counted: {count(len(lefts) - len(works), 'cell')} of unknown time")
