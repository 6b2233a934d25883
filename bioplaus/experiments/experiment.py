"""An experiment is one rule, fully configured, on one task: everything but the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from bioplaus import tasks
from bioplaus.errors import BioplausError, ConfigError, PluginError, UnsupportedError, shown
from bioplaus.experiments.settings import Settings, sort_settings
from bioplaus.experiments.size import check_size
from bioplaus.learning.batching import Rule
from bioplaus.learning.layer_rates import check_rates
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Need
from bioplaus.network.network import Network
from bioplaus.plugins import registry
from bioplaus.plugins.rules import check_profile, rule_class
from bioplaus.records.schema import SCHEMA
from bioplaus.system.blame import blaming
from bioplaus.system.device import PRECISIONS
from bioplaus.system.shell import bioplaus
from bioplaus.tasks.layer_plugins import versions
from bioplaus.tasks.task import Task, TrainingData, read_task

_A = TypeVar("_A")
_B = TypeVar("_B")


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a result, but for the seed."""

    task: Task
    rule: Rule
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None
    precision: str
    label: str
    """What differs from the defaults, for people."""

    @cached_property
    def network(self) -> Network:
        """The network that the task prescribes."""
        return self.task.build_network()

    def configuration(self, data: TrainingData) -> dict[str, object]:
        """What a record's key covers."""
        return {
            "schema": SCHEMA,
            "task": self.task.content(),
            "data": {"checksums": data.checksums, "sizes": data.sizes(), "scale": data.scale},
            "rule": self.rule.name,
            "rule_version": self.rule.version,
            "options": self.rule.config.model_dump(mode="json"),
            "optimizer": self.optimizer.model_dump(mode="json", exclude_none=True),
            "aux_optimizer": self.aux_optimizer
            and self.aux_optimizer.model_dump(mode="json", exclude_none=True),
            "epochs": self.task.epochs,
            "precision": self.precision,
            # an installed rule raises its version when results change; a file just changes
            **({"layers": layers} if (layers := versions(self.task.content())) else {}),
            **({"rule_sha256": self.rule_file.checksum} if self.rule_file else {}),
        }

    @property
    def rule_file(self) -> registry.Plugin | None:
        """The file that the rule was taken from, None for one that is installed."""
        plugin = registry.find("rule", self.rule.name)
        return plugin if plugin.checksum else None


def plan(
    rules: Sequence[str],
    task: str | None = None,
    *,
    epochs: int | None = None,
    settings: Mapping[str, object] | None = None,
    precision: str = "fp32",
    problems: list[str] | None = None,
) -> list[Experiment]:
    """The experiments asked for, checked in full before anything runs.

    Raises UnknownNameError, ConfigError, PluginError or UnsupportedError. Where `problems` is
    given, rules that are broken as plugins are told there and left out, as long as one is left.
    """
    if not rules:
        raise ConfigError("name at least one rule")
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}; choose {' or '.join(PRECISIONS)}")
    for name in rules:
        registry.find("rule", name)
    sound = _Sound(problems)
    classes = sound.of(rule_class, dict.fromkeys(rules))
    chosen = sort_settings(settings or {}, classes)
    configured = sound.of(lambda cls: cls.configured(chosen.rules[cls.name]), classes)
    base = read_task(task) if task else choose_task(configured)
    changes = chosen.task | ({"epochs": epochs} if epochs is not None else {})
    changed = base.updated(changes) if changes else base

    def experiment(rule: Rule) -> Experiment:
        made = _experiment(changed, rule, chosen, precision, base)
        reason = _reason(rule, changed, made.network)
        if reason:
            raise UnsupportedError(
                f"{rule.name} cannot train on {changed.name}: {reason}; "
                f"`{bioplaus('list', 'tasks', '--rule', rule.name)}` names tasks that it can"
            )
        return made

    return sound.of(experiment, configured)


@dataclass
class _Sound:
    """Makes things of plugins, and leaves out what is broken where there is a list to tell."""

    problems: list[str] | None

    def of(self, make: Callable[[_A], _B], items: Iterable[_A]) -> list[_B]:
        """What is made of each; PluginError where nothing is left, or there is no list."""
        made, wrong = [], []
        for item in items:
            try:
                made.append(make(item))
            except PluginError as error:
                wrong.append(error)
        if wrong and (self.problems is None or not made):
            raise wrong[0] if len(wrong) == 1 else PluginError("; ".join(map(str, wrong)))
        if self.problems is not None:
            self.problems += [str(error) for error in wrong]
        return made


def configure(
    rule: str, base: Task, settings: Mapping[str, object], precision: str = "fp32"
) -> Experiment:
    """One rule on a task with these settings, by the names that `--set` takes.

    Raises UnknownNameError, ConfigError, PluginError or UnsupportedError.
    """
    cls = rule_class(rule)
    chosen = sort_settings(settings, [cls])
    task = base.updated(chosen.task) if chosen.task else base
    experiment = _experiment(task, cls.configured(chosen.rules[rule]), chosen, precision, base)
    reason = _reason(experiment.rule, task, experiment.network)
    if reason:
        raise UnsupportedError(f"{rule} cannot train on {task.name}: {reason}", reason)
    return experiment


_NEEDED: dict[Need, str] = {
    "error": "",
    "targets": "it learns from the targets themselves, and two views have none",
    "classes": "it learns from classes, and this task has none",
    "views": "it learns from two views: it is for tasks whose goal they are",
    "examples": "it learns to make whole examples again: it is for tasks whose goal that is, "
    "without a mask",
}


def _reason(rule: Rule, task: Task, network: Network) -> str | None:
    """Why the rule cannot train the task's network; None where it can."""
    if rule.needs not in task.gives:
        return _NEEDED[rule.needs]
    if task.pruning is not None and task.pruning.feedback == "same" and not rule.shares_weights:
        return (
            "its feedback is not shaped like the weights, name by name, so that their masks do not "
            "fit it: set task.pruning.feedback=dense"
        )
    with blaming(f"the rule {rule.name!r} failed in `supports`", rule):
        reason = rule.supports(network)
    if reason is not None and not isinstance(reason, str):
        raise PluginError(
            f"the rule {rule.name!r}: `supports` returned {shown(repr(reason), 60)}; return None "
            "where the network is supported, else the reason why not"
        )
    return reason


def choose_task(rules: Sequence[Rule]) -> Task:
    """The first task, in their order, on the default one's data that all these rules support."""
    reasons: list[str] = []
    dataset = read_task(tasks.DEFAULT).dataset
    for task in supported_tasks(rules, reasons):
        if task.dataset == dataset:
            return task
    raise UnsupportedError(
        f"no built-in {dataset} task suits all of these rules; choose one with --task "
        f"({'; '.join(reasons)})"
    )


def supported_tasks(rules: Sequence[Rule], reasons: list[str] | None = None) -> Iterable[Task]:
    """The tasks whose network all these rules can train; the others' reasons added.

    A plugin's task that cannot be read is one of the others.
    """
    for name in tasks.names():
        try:
            task = read_task(name)
            network = task.build_network()
        except BioplausError as error:
            if reasons is not None:
                reasons.append(f"{name}: {error}")
            continue
        found = [
            f"{name}: {rule.name}: {why}" for rule in rules if (why := _reason(rule, task, network))
        ]
        if not found:
            yield task
        elif reasons is not None:
            reasons.extend(found)


def _experiment(task: Task, rule: Rule, chosen: Settings, precision: str, base: Task) -> Experiment:
    """Task default < the rule's recommendation < what was set."""
    check_profile(rule)
    network = task.build_network()
    check_size(network, task.name)
    with blaming(f"the rule {rule.name!r} failed in naming its optimizers", rule, own=True):
        named, own = rule.optimizer_on(network), rule.aux_optimizer
    _check_optimizer(rule, "optimizer", named is None or isinstance(named, OptimizerSpec))
    _check_optimizer(rule, "aux_optimizer", own in ("same", None) or isinstance(own, OptimizerSpec))
    recommended = named or task.optimizer
    optimizer = recommended.updated(chosen.optimizer)
    recommended_aux = optimizer if own == "same" else own
    if chosen.aux_optimizer and recommended_aux is None:
        raise ConfigError(f"{rule.name} as configured learns no auxiliary parameters to optimize")
    aux_optimizer = recommended_aux and recommended_aux.updated(chosen.aux_optimizer)
    check_rates(optimizer, network)
    differences = {
        **_differences(rule.config, type(rule.config)()),
        **_differences(optimizer, recommended, "optimizer."),
        **_differences(aux_optimizer, recommended_aux, "aux_optimizer."),
        **_differences(task.model_copy(update={"epochs": base.epochs}), base, "task."),
        **({"epochs": task.epochs} if task.epochs != base.epochs else {}),
        **({"precision": precision} if precision != "fp32" else {}),
    }
    file = registry.find("rule", rule.name)
    if file.checksum:
        differences["file"] = f"{Path(file.source).name}@{file.checksum[:8]}"
    label = " ".join(f"{name}={value}" for name, value in differences.items())
    return Experiment(task, rule, optimizer, aux_optimizer, precision, label)


def _check_optimizer(rule: Rule, what: str, sound: bool) -> None:
    if not sound:
        also = ", 'same'" if what == "aux_optimizer" else ""
        raise PluginError(
            f"the rule {rule.name!r}: `{what}` is no bioplaus.OptimizerSpec{also} or None; write "
            "OptimizerSpec(name='adam', lr=1e-3)"
        )


def _differences(
    now: BaseModel | None, default: BaseModel | None, prefix: str = ""
) -> dict[str, object]:
    """The fields that are not at their defaults, of tables the fields within."""
    if now is None or default is None:
        return {}
    found: dict[str, object] = {}
    dumped = now.model_dump(mode="json")
    for name in type(now).model_fields:
        value, usual = getattr(now, name), getattr(default, name)
        if value == usual:
            continue
        if not isinstance(value, BaseModel):
            found[prefix + name] = dumped[name]
        elif type(usual) is type(value):
            found |= _differences(value, usual, f"{prefix}{name}.")
        else:  # a table where there was none
            parts = value.model_dump(mode="json", exclude_defaults=True)
            found |= {f"{prefix}{name}.{part}": inner for part, inner in _leaves(parts)}
    return found


def _leaves(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The values of tables within tables, under their names with dots."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _leaves(value))
        else:
            yield name, value
