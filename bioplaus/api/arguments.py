"""What `run` and its neighbours take: each kind of argument read in one place."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from bioplaus.errors import ConfigError, closest, shown
from bioplaus.experiments.settings import SECTIONS
from bioplaus.learning.rule import LearningRule
from bioplaus.plugins import registry
from bioplaus.plugins.from_class import named_rule
from bioplaus.plugins.from_file import add_rules

RuleLike = str | type[LearningRule[Any]] | LearningRule[Any]
"""A rule's name, its class, or a rule as configured."""
PathLike = str | os.PathLike[str]

MOST_SEEDS = 10_000
_SEEDS = f"seeds are a number or a list of whole numbers from 0 up, {MOST_SEEDS:,} at most"


P = ParamSpec("P")
R = TypeVar("R")


def by_name(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which tells what may be meant by an argument that it has not: ConfigError."""
    known = inspect.signature(function).parameters

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                called = getattr(function, "__name__", "it")
                raise ConfigError(f"{called}() has no argument {name!r}{closest(name, known)}")
        return function(*args, **kwargs)

    return told


class Chosen(NamedTuple):
    """Rules by name, with the options that came as rules' own and those that were given."""

    names: list[str]
    settings: dict[str, object]


def chosen_rules(
    rules: RuleLike | Iterable[RuleLike] | None,
    settings: Mapping[str, object] | None,
    plugin: PathLike | Iterable[PathLike] | None,
) -> Chosen:
    """Names of the rules meant, known from now on; None for all rules of the plugin files.

    Raises ConfigError for what is no rule, PluginError for a broken one.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(
            f"settings are a dict such as {{'optimizer.lr': 0.001}}, not {_said(settings)}"
        )
    one_file = _is_path(plugin) or not isinstance(plugin, Iterable)
    files = [] if plugin is None else [plugin] if one_file else list(plugin)  # type: ignore[arg-type]
    found = [name for file in files for name in add_rules(str(chosen_path(file, "plugin")))]
    if rules is None:
        if not found:
            raise ConfigError("name at least one rule, or give plugin='my_rule.py'")
        return Chosen(found, _plain(settings))
    one = isinstance(rules, str | type | LearningRule) or not isinstance(rules, Iterable)
    names: list[str] = []
    own: dict[str, object] = {}
    for rule in [rules] if one else list(rules):  # type: ignore[arg-type]
        name, options = _named(rule)
        names.append(name)
        own |= {f"{name}.{option}": value for option, value in options.items()}
    if not names:
        raise ConfigError("name at least one rule")
    return Chosen(names, own | _plain(settings))


def _plain(settings: Mapping[str, object] | None) -> dict[str, object]:
    """The settings by name, with numbers of numpy or torch as Python's.

    {"optimizer": {"lr": 0.1}} is {"optimizer.lr": 0.1}.
    """
    found: dict[str, object] = {}
    for name, value in (settings or {}).items():
        if not isinstance(name, str):
            raise ConfigError(f"settings are by name, as in 'optimizer.lr', not {_said(name)}")
        if name in SECTIONS and isinstance(value, Mapping):
            found |= _plain({f"{name}.{part}": inner for part, inner in value.items()})
        else:
            found[name] = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    return found


def _named(rule: object) -> tuple[str, dict[str, object]]:
    if isinstance(rule, str):
        registry.find("rule", rule)
        return rule, {}
    if isinstance(rule, type) and issubclass(rule, LearningRule):
        return named_rule(rule), {}
    if isinstance(rule, LearningRule):
        return named_rule(type(rule)), rule.config.model_dump(exclude_defaults=True)
    raise ConfigError(f"a rule is a name, a rule's class or a rule, not {_said(rule)}")


def chosen_seeds(seeds: object) -> list[int]:
    """How many from 0, or which: sorted, each once.

    ConfigError where there are none, too many, or one is no whole number from 0 up.
    """
    if isinstance(seeds, Integral) and not isinstance(seeds, bool):
        if not 1 <= int(seeds) <= MOST_SEEDS:
            raise ConfigError(f"{_SEEDS}, not {shown(int(seeds))} of them")
        return list(range(int(seeds)))
    if isinstance(seeds, str | bytes | Mapping) or not isinstance(seeds, Iterable):
        raise ConfigError(f"{_SEEDS}, not {_said(seeds)}")
    listed = list(islice(seeds, MOST_SEEDS + 1))
    for seed in listed:
        if not isinstance(seed, Integral) or isinstance(seed, bool) or int(seed) < 0:
            raise ConfigError(f"{_SEEDS}, but {shown(repr(seed))} is among them")
    if not 1 <= len(listed) <= MOST_SEEDS:
        raise ConfigError(f"{_SEEDS}, not {'more' if listed else 'none'}")
    return sorted({int(seed) for seed in listed})


def chosen_task(task: object) -> str | None:
    """A built-in task's name, or a file."""
    if task is None or isinstance(task, str):
        return str(Path(task).expanduser()) if task and task.startswith("~") else task
    if isinstance(task, os.PathLike):
        return str(chosen_path(task, "task"))
    raise ConfigError(f"task is a name or a path of FILE.toml, not {_said(task)}")


def chosen_path(path: object, what: str) -> Path:
    """A path, its ~ written out."""
    if not _is_path(path):
        raise ConfigError(f"{what} is a path, not {_said(path)}")
    try:
        return Path(path).expanduser()  # type: ignore[arg-type]
    except RuntimeError:
        raise ConfigError(f"{what}: no home is known for {shown(path)}") from None


def chosen_count(value: object, what: str, most: int) -> int:
    """A whole number from 1 to `most`."""
    if isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= most:
        return int(value)
    raise ConfigError(f"{what} is a whole number from 1 to {most:,}, not {_said(value)}")


def chosen_word(value: object, what: str, words: Sequence[str]) -> str:
    """One of a few words."""
    if value not in words:
        raise ConfigError(f"{what} is {' or '.join(map(repr, words))}, not {_said(value)}")
    return str(value)


def names_of(value: object, what: str) -> list[str]:
    """None, a name or several, as a list."""
    listed = [] if value is None else [value] if not isinstance(value, list | tuple) else value
    for name in listed:
        if not isinstance(name, str):
            raise ConfigError(f"{what} is a name or a list of names, not {_said(name)}")
    return [str(name) for name in listed]


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _said(value: object) -> str:
    return shown(repr(value)) if isinstance(value, str | int | float) else type(value).__name__
