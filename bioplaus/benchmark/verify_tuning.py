"""Does a tuning reproduce? Its trials are made again, the same in number, seeds and order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioplaus.benchmark.optuna_study import Study
from bioplaus.benchmark.plan import JOURNAL
from bioplaus.benchmark.tuning import TuningPlan, plan_tuning, tune
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.plugins import registry
from bioplaus.records.metric import Metric
from bioplaus.records.schema import Trial, Tuning
from bioplaus.running.verify import tolerance
from bioplaus.system.device import resolve_device
from bioplaus.tasks.task import Task
from bioplaus.training.progress import Progress


@dataclass(frozen=True)
class TuningReproduction:
    """What came out."""

    reproduces: bool
    reasons: list[str]
    """What differs beyond the tolerance."""
    trials: list[Trial]


def plan_of(tuning: Tuning) -> tuple[TuningPlan, int]:
    """The plan that a tuning's configuration describes, and how many examples it chooses on.

    Raises BioplausError where this installation cannot make it: another version of the rule
    or of its search space, other data, a rule or data set that is not there.
    """
    content: dict[str, Any] = tuning.configuration
    try:
        task = Task.model_validate(
            {
                **content["task"],
                "name": tuning.task,
                "epochs": tuning.budget.epochs,
                "optimizer": content["optimizer"],
            }
        )
        settings = _settings(tuning, content)
        precision, version = content["precision"], content["rule_version"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"this tuning's configuration cannot be run: {reason}") from None
    installed = registry.load("rule", tuning.rule).version
    if installed != version:
        raise ConfigError(
            f"the tuning is of version {version} of {tuning.rule}; version {installed} is installed"
        )
    data = task.load_training_data()
    study = content.get("study")
    plan = plan_tuning(tuning.rule, task, settings, tuning.budget, data, precision, study)
    if plan.key != tuning.key:
        raise BioplausError(
            f"{tuning.task}: the data or the search space here are not the tuning's, or this "
            "bioplaus describes them differently; nothing was run"
        )
    return plan, data.sizes()["validation"]


def _settings(tuning: Tuning, content: Mapping[str, Any]) -> dict[str, object]:
    """All that was set or is the default, but for what was searched."""
    sections = {"": content["options"], "optimizer.": content["optimizer"],
                "aux_optimizer.": content["aux_optimizer"] or {}}  # fmt: skip
    return {
        prefix + name: value
        for prefix, section in sections.items()
        for name, value in section.items()
        if prefix + name not in tuning.space
    }


def verify_tuning(
    tuning: Tuning,
    *,
    device: str = "auto",
    watch: Callable[[Progress], None] = lambda progress: None,
) -> TuningReproduction:
    """Make all trials again, one wave after the other, and compare.

    Settings must be the same, and accuracies agree to 4 standard errors on the validation
    split: waves are chosen from the results before them, so after a trial that differs by
    rounding later ones may rightly try something else, and are then not compared.
    """
    plan, held_out = plan_of(tuning)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            plan.key,
            plan.space,
            plan.start,
            plan.budget.trials,
            Path(folder) / JOURNAL,
            plan.metric.lower_is_better,
        )
        for steps in tune(plan, study, str(resolve_device(device))):
            for step in steps:
                step.keep(step.job.run(watch))
        trials = study.trials()
    reasons = _compared(tuning.trials, trials, held_out, plan.metric)
    return TuningReproduction(not reasons, reasons, trials)


def _compared(
    old: Sequence[Trial], new: Sequence[Trial], examples: int, metric: Metric
) -> list[str]:
    found = []
    same = True
    for a, b in zip(old, new, strict=True):
        if a.settings != b.settings:
            if same:
                found.append(f"trial {a.number} set {a.settings}, and sets {b.settings}")
            break
        same = same and a.seeds == b.seeds
        if a.status != b.status:
            found.append(f"trial {a.number} was {a.status}, is {b.status}")
            continue
        for seed, (x, y) in enumerate(zip(a.seeds, b.seeds, strict=True)):
            if x is None or y is None:
                continue
            if abs(x - y) > tolerance(metric, x, examples):
                found.append(f"trial {a.number}, seed {seed}: validation was {x:.4f}, is {y:.4f}")
    return found
