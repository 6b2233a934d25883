"""The library's front door: rules by name, and runs that return data frames."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bioplaus.errors import ConfigError
from bioplaus.plugins import registry

if TYPE_CHECKING:
    import pandas

    from bioplaus.learning.batching import Rule


def list_rules() -> list[str]:
    """Names of all registered rules, sorted; imports none of them."""
    return registry.names("rule")


def get_rule(name: str, **config: Any) -> Rule:
    """The rule of that name with these options.

    Raises UnknownNameError for a name or option, ConfigError for a bad value.
    """
    from bioplaus.plugins.rules import rule_class

    return rule_class(name).configured(config)


def run(
    rules: str | Iterable[str],
    task: str | None = None,
    seeds: int | Iterable[int] = 5,
    *,
    epochs: int | None = None,
    settings: Mapping[str, object] | None = None,
    results: str | os.PathLike[str] = "results",
    device: str = "auto",
    precision: str = "fp32",
    compile: Literal["auto", "on", "off"] = "auto",
    max_replicas: int | None = None,
    force: bool = False,
    save_weights: bool = False,
) -> pandas.DataFrame:
    """Train rules on a task and return one row per rule and seed.

    rules: a name or several. task: a built-in name or FILE.toml; None for the default.
    seeds: how many, or which. settings: as `--set`, {"gaitprop.ortho": 0.05}.
    compile: the training step; "auto" where that is likely to repay its time.
    max_replicas: seeds that train together; None for as many as fit the device.
    Runs that `results` already holds are read, not repeated, unless `force`; what another
    process is training there is waited for, with a line on standard error.
    `frame.attrs["problems"]` lists what failed without stopping the rest, and "notes" what
    ran otherwise than asked for, a step that could not be compiled say.
    """
    import pandas

    from bioplaus.experiments.experiment import plan
    from bioplaus.records.schema import to_rows
    from bioplaus.records.store import Store
    from bioplaus.running.run import run_experiments
    from bioplaus.system.device import resolve_device
    from bioplaus.training.execution import Execution

    names = [rules] if isinstance(rules, str) else list(rules)
    broken: list[str] = []
    experiments = plan(
        names, task, epochs=epochs, settings=settings, precision=precision, problems=broken
    )
    done = run_experiments(
        experiments,
        check_seeds(range(seeds) if isinstance(seeds, int) else seeds),
        Store(results),
        execution=Execution(resolve_device(device), compile, max_replicas),
        force=force,
        save_weights=save_weights,
        tell=lambda line: print(line, file=sys.stderr),
    )
    frame = pandas.DataFrame(to_rows(done.records))
    frame.attrs["problems"] = [*broken, *done.problems]
    frame.attrs["notes"] = done.notes
    return frame


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """The seeds sorted, each once; ConfigError where there are none or one is negative."""
    chosen = sorted(set(seeds))
    if not chosen or chosen[0] < 0:
        raise ConfigError("seeds are whole numbers from 0 up, at least one of them")
    return chosen
