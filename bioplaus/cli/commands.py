"""The `bioplaus` command and its subcommands, one a module."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from bioplaus import tasks
from bioplaus.cli.bench import bench
from bioplaus.cli.catalogue import list_group
from bioplaus.cli.check import check
from bioplaus.cli.claims import claims
from bioplaus.cli.compare import compare
from bioplaus.cli.measure import measure
from bioplaus.cli.merge import merge
from bioplaus.cli.narrow_output import take_any_text
from bioplaus.cli.new import new
from bioplaus.cli.report import report
from bioplaus.cli.run import run
from bioplaus.cli.show import show
from bioplaus.cli.show_activity import show_activity
from bioplaus.cli.speed import speed
from bioplaus.cli.tune import tune
from bioplaus.cli.verify import verify
from bioplaus.cli.wrong_usage import check_once, in_one_line, note_typed
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.system.interruption import Terminated, handled
from bioplaus.system.secrets import redacted

# a thread that waits in a busy loop takes the core from the one it waits for, wherever another
# program wants a core too; OpenMP reads this when torch is loaded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _Commands(click.Group):
    """Turns a user's mistakes into one line, and Ctrl-C into the conventional exit status."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise in_one_line(error) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        note_typed(ctx, rest)
        if command is not None and not ctx.resilient_parsing:  # as completion by the shell is
            check_once(ctx, command, rest)
        return name, command, rest

    def main(self, *args: Any, **kwargs: Any) -> Any:
        take_any_text()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with handled():
                for line in (*registry.problems(), *tasks.problems()):
                    click.echo(f"Warning: {line}", err=True)
                return super().invoke(ctx)
        except BioplausError as error:
            if os.environ.get("BIOPLAUS_TRACEBACK"):
                raise
            raise click.ClickException(redacted(str(error), *sys.argv)) from None
        except click.UsageError as error:
            raise in_one_line(error) from None
        except click.ClickException as error:  # it quotes what was typed
            vars(error)["message"] = redacted(error.message, *sys.argv)
            raise
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            sys.exit(130)
        except Terminated as termination:
            click.echo(
                "Terminated. What was finished is saved; the same command goes on from there.",
                err=True,
            )
            sys.exit(termination.code)


@click.group(
    cls=_Commands,
    epilog="Start with `bioplaus run --rule gaitprop`. "
    "BIOPLAUS_TRACEBACK=1 shows where an error arose.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="bioplaus", message="bioplaus %(version)s")
def main() -> None:
    """Benchmark biologically plausible learning rules against backprop, and each other."""


main.add_command(run)
main.add_command(bench)
main.add_command(tune)
main.add_command(speed)
main.add_command(list_group)
main.add_command(show)
main.add_command(report)
main.add_command(check)
main.add_command(new)
main.add_command(compare)
main.add_command(claims)
main.add_command(merge)
main.add_command(verify)
main.add_command(measure)
main.add_command(show_activity)
