"""Suites: which rules run on which tasks, with how many seeds and what tuning budget, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from bioplaus import suites, tasks
from bioplaus.errors import ConfigError, UnknownNameError, validation_message
from bioplaus.plugins import registry
from bioplaus.records.schema import TuningBudget
from bioplaus.system.paths import expanded
from bioplaus.system.shell import bioplaus
from bioplaus.system.toml_files import TABLE, parse_toml, read_toml
from bioplaus.tasks.task import Task

ALL = "all"
MAX_SEEDS = 10_000
MOST_TASKS = 10_000
"""Tasks, each with every combination of what is crossed."""


def _is_table(annotation: object) -> bool:
    kinds = (annotation, *get_args(annotation))
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


TABLES = frozenset(n for n, field in Task.model_fields.items() if _is_table(field.annotation))
"""Fields of a task that are tables themselves."""


class _Data(BaseModel):
    model_config = TABLE


class RuleEntry(_Data):
    """A rule with settings of its own: `{ rule = "gaitprop", set = { ortho = 0.05 } }`."""

    rule: str = Field(description='a rule\'s name; "all" for every one that suits the task')
    set: dict[str, Any] = Field({}, description="settings by name, as `--set` takes them")


class TaskEntry(_Data):
    """A task with changes: `{ task = "mnist-square", set = { validation = 5000 } }`."""

    task: str = Field(description="a built-in task, or FILE.toml beside the suite")
    set: dict[str, Any] = Field({}, description="fields of the task to change, as `task.FIELD`")


class TuningSpec(_Data):
    """The budget that every rule gets on every task."""

    trials: int = Field(ge=1, description="configurations tried, the default one included")
    seeds: int = Field(1, ge=1, le=MAX_SEEDS, description="seeds of each trial")
    epochs: int | None = Field(None, ge=1, description="of each trial; left out: the task's")

    each_seed: bool = Field(
        False,
        description="tune anew for each seed of the suite: intervals then hold the spread of "
        "tuning as well as that of training",
    )

    def budget(self, epochs: int) -> TuningBudget:
        """With the task's epochs where the suite names none."""
        return TuningBudget(
            trials=self.trials,
            seeds=self.seeds,
            epochs=self.epochs or epochs,
            each_seed=self.each_seed or None,
        )


def _entries(key: str) -> BeforeValidator:
    """Names and tables alike become tables; one name stands for a list of it."""

    def convert(value: object) -> object:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list | tuple):
            return value
        return [{key: item} if isinstance(item, str) else item for item in listed]

    return BeforeValidator(convert)


def _seeds(value: object) -> object:
    """5 is the first five seeds."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_SEEDS:
            raise ValueError(f"between 1 and {MAX_SEEDS:,} seeds")
        return list(range(value))
    if isinstance(value, str):
        raise ValueError("how many seeds is due, as in 5, or a list of them, as in [0, 1, 2]")
    return list(value) if isinstance(value, tuple | range) else value


def _each_once(seeds: list[int]) -> list[int]:
    """ValueError where a seed stands there twice."""
    if len(set(seeds)) < len(seeds):
        (seed, _), *_ = Counter(seeds).most_common()
        raise ValueError(f"the seed {seed} stands there twice: leave one out")
    return seeds


def _set(field: str, value: object) -> dict[str, object]:
    """What one value of a crossed field sets: a table is several fields, or the field's own."""
    if isinstance(value, Mapping) and field not in TABLES:
        return dict(value)
    return {field: value}


def _alike(one: object, other: object) -> bool:
    """Equality as TOML has it: 8 is 8.0, and 1 is not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _check_apart(field: str, values: Sequence[object]) -> None:
    """ValueError where a value stands twice: its runs would be one, and stand on two boards."""
    for place, value in enumerate(values):
        if any(_alike(_set(field, value), _set(field, other)) for other in values[:place]):
            raise ValueError(f"{field} has the value {value} twice: leave one out")


def _check_set_once(cross: Mapping[str, Sequence[object]]) -> None:
    """ValueError where two crossed entries set one field, or one a part of what another sets."""
    by: dict[str, str] = {}
    for entry, values in cross.items():
        for field in sorted({name for value in values for name in _set(entry, value)}):
            for other, first in by.items():
                if first != entry and f"{field}.".startswith(f"{other}."):
                    raise ValueError(f"{first} and {entry} both set {field}: cross it once")
                if first != entry and f"{other}.".startswith(f"{field}."):
                    raise ValueError(f"{first} and {entry} both set {other}: cross it once")
            by.setdefault(field, entry)


class Suite(_Data):
    """A benchmark: rules x tasks x seeds; copy a built-in file to make your own."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    description: str = ""
    rules: Annotated[list[RuleEntry], _entries("rule"), Field(min_length=1)]
    tasks: Annotated[list[TaskEntry], _entries("task"), Field(min_length=1)]
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=1_000_000, strict=True)]],
        BeforeValidator(_seeds),
        AfterValidator(_each_once),
        Field(min_length=1, max_length=MAX_SEEDS, description="how many, or a list of them"),
    ]
    epochs: int | None = Field(None, ge=1, description="on every task; left out: the task's own")
    precision: Literal["fp32", "tf32", "fp64"] = "fp32"
    quick: bool = Field(False, description="each rule's own `quick` overrides apply")
    tuning: TuningSpec | None = None
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {}, description="one field of the tasks, and the values that it takes"
    )

    cross: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {},
        description="fields of the tasks, every value of each with every value of the others; a "
        "value that is a table sets several fields at once",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Suite:
        if self.sweep and self.cross:
            raise ValueError("a suite has a [sweep] or a [cross], which may sweep one field too")
        if len(self.sweep) > 1:
            raise ValueError(f"a [sweep] has one field, not {len(self.sweep)}: write [cross]")
        runs = len(self.tasks) * prod(len(values) for values in self.cross.values())
        if runs > MOST_TASKS:
            raise ValueError(
                f"tasks times crossed values are {runs:,}, and {MOST_TASKS:,} at most: cross fewer"
            )
        for field, values in (self.cross or self.sweep).items():
            _check_apart(field, values)
        _check_set_once(self.cross)
        return self

    def variants(self) -> list[tuple[TaskEntry, dict[str, object]]]:
        """Every task with the fields that the suite changes: epochs, its own, the swept ones'."""
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        fields = (self.cross or self.sweep).items()
        swept: list[dict[str, object]] = [
            {name: value for part in chosen for name, value in part.items()}
            for chosen in product(*([_set(f, v) for v in values] for f, values in fields))
        ]
        return [
            (entry, {**epochs, **entry.set, **values}) for entry in self.tasks for values in swept
        ]

    def rule_entries(self) -> list[RuleEntry]:
        """Every rule with its settings; "all" expanded to those that are not there already."""
        found: dict[str, RuleEntry] = {}
        for entry in self.rules:
            everything = entry.rule == ALL
            for rule in registry.names("rule") if everything else [entry.rule]:
                key = f"{rule} {sorted(entry.set.items())}"
                if not everything or key not in found:
                    found[key] = RuleEntry(rule=rule, set=entry.set)
        return list(found.values())


def read_suite(name_or_file: str) -> Suite:
    """A built-in suite by name, or one of your own by its .toml file.

    Task files in it are relative to the suite's folder. UnknownNameError or ConfigError.
    """
    if name_or_file.endswith(".toml"):
        path = Path(name_or_file)
        text = read_toml(path, "suite file")
        return _beside(path.parent, parse_suite(text, name_or_file))
    if name_or_file not in suites.names():
        hint = "; a suite of your own is given as FILE.toml"
        if name_or_file in tasks.names():
            trains = f"`{bioplaus('run', '--task', name_or_file)}` trains on it"
            raise ConfigError(f"{name_or_file} is a task, not a suite: {trains}")
        raise UnknownNameError("suite", name_or_file, suites.names(), hint)
    return parse_suite(suites.text(name_or_file), name_or_file)


def parse_suite(text: str, where: str) -> Suite:
    """A suite from the text of its file; ConfigError naming what is wrong and where."""
    table = parse_toml(text, where)
    if {"dataset", "network"} & table.keys():
        raise ConfigError(f"{where} is a task, not a suite: `bioplaus run --task` trains on it")
    try:
        suite = Suite.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"suite {where}: {validation_message(error, Suite)}") from None
    for entry in suite.rules:
        if entry.rule != ALL:
            registry.find("rule", entry.rule)
    return suite


def _beside(folder: Path, suite: Suite) -> Suite:
    tasks = [
        entry.model_copy(update={"task": str(folder / expanded(entry.task))})
        if entry.task.endswith(".toml")
        else entry
        for entry in suite.tasks
    ]
    return suite.model_copy(update={"tasks": tasks})
