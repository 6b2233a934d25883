"""`bioplaus show-activity`: what a spiking network does on one example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import HomePath, results_option
from bioplaus.errors import PluginError, RecordError
from bioplaus.system.pictures import require_picture

if TYPE_CHECKING:
    from bioplaus.experiments.experiment import Experiment
    from bioplaus.records.schema import Record
    from bioplaus.training.progress import Progress


@click.command("show-activity", short_help="Draw the spikes of one example, layer by layer.")
@results_option
@click.option("--rule", help="Of this rule; the first one there is if left out.")
@click.option("--task", help="Of this task; the first spiking one there is if left out.")
@click.option("--seed", type=click.IntRange(min=0), help="Of this seed; the first if left out.")
@click.option(
    "--example", default=0, show_default=True, type=click.IntRange(min=0),
    help="Which of the test split's, from 0.",
)  # fmt: skip
@click.option(
    "--units", default=3, show_default=True, type=click.IntRange(min=1, max=10),
    help="Of how many units a layer the potential is drawn: of those that spike most.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=HomePath(dir_okay=False), default="activity.svg", show_default=True,
    metavar="FILE", help="The picture: .svg, .png or .pdf.",
)  # fmt: skip
@plugin_option
def show_activity(
    results: str,
    rule: str | None,
    task: str | None,
    seed: int | None,
    example: int,
    units: int,
    output: str,
    plugins: tuple[str, ...],
) -> None:
    """Draw the spikes of one example by layer, and the potentials of a few units.

    The network is that of a record of a spiking task. Its weights come from where
    `bioplaus run --save-weights` kept them; where there are none, it is trained again.

    \b
    bioplaus run --rule backprop --task digits-spiking --save-weights
    bioplaus show-activity --rule backprop --task digits-spiking --example 3
    """
    require_picture(output, "show-activity")
    broken: list[str] = []
    add_files(plugins, broken)
    if broken:
        raise PluginError("; ".join(broken))
    from rich.console import Console

    from bioplaus.records.store import Store

    with Console(stderr=True).status("Loading torch ...") as status:
        from bioplaus.axes.one_example import is_spiking, one_example
        from bioplaus.axes.raster import draw

        store = Store(results)
        record = _chosen(
            [r for r in store.read_all().records if is_spiking(r)], results, rule, task, seed
        )

        def tell(experiment: Experiment, progress: Progress) -> None:
            share = 100 * progress.step / max(1, progress.steps)
            status.update(f"Training {record.rule} on {record.task} again, {share:.0f} %")

        shown = one_example(store, record, example, tell)
        draw(shown, output, units)
    for layer in shown.layers:
        count = int(layer.spikes.sum())
        click.echo(f"{layer.name}: {count:,} spikes of {layer.spikes.shape[1]:,} units")
    click.echo(f"{shown.spikes:,.0f} spikes, {shown.synaptic_operations:,.0f} synaptic operations")
    click.echo(f"Wrote {output}: {shown.title}", err=True)


def _chosen(
    records: Sequence[Record], results: str, rule: str | None, task: str | None, seed: int | None
) -> Record:
    """The first that fits and lived, in the order of a results folder; RecordError for none."""
    fitting = [
        r for r in records
        if rule in (None, r.rule) and task in (None, r.task) and seed in (None, r.seed)
    ]  # fmt: skip
    if not fitting:
        named = {"--rule": rule, "--task": task, "--seed": seed}
        asked = " ".join(f"{k} {v}" for k, v in named.items() if v is not None)
        raise RecordError(
            f"no record of a spiking network in {results}" + (f" for {asked}" if asked else "")
            + "; `bioplaus run --rule backprop --task digits-spiking --save-weights` makes some"
        )  # fmt: skip
    return next((r for r in fitting if r.status == "complete"), fitting[0])
