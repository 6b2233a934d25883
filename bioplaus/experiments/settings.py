"""Settings given by name: `ortho=0.05`, `gaitprop.ortho=0.05`, `optimizer.lr=1e-4`, ..."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.tasks.task import Task

SECTIONS = ("optimizer", "aux_optimizer", "task")
_SECTION_STARTS = tuple(f"{section}." for section in SECTIONS)


@dataclass(frozen=True)
class Settings:
    """What was set, sorted by what it concerns."""

    rules: dict[str, dict[str, object]] = field(default_factory=dict)
    optimizer: dict[str, object] = field(default_factory=dict)
    aux_optimizer: dict[str, object] = field(default_factory=dict)
    task: dict[str, object] = field(default_factory=dict)


def parse_assignments(items: Iterable[str]) -> dict[str, object]:
    """`["gaitprop.ortho=0.05"]` -> `{"gaitprop.ortho": 0.05}`; values as in TOML, or text."""
    settings: dict[str, object] = {}
    for item in items:
        name, equals, text = item.partition("=")
        name = name.strip()
        if not (equals and name):
            raise ConfigError(f"cannot read the setting {item!r}; write option=value")
        if name in settings:
            raise ConfigError(f"{name} is set twice: give it once")
        settings[name] = _value(text.strip())
    return settings


def _value(text: str) -> object:
    literal = text.lower() if text.lower() in ("true", "false") else text
    try:
        return tomllib.loads(f"value = {literal}")["value"]
    except (ValueError, RecursionError):  # no TOML, or too deep or too long a number for Python
        return float(text) if re.fullmatch(r"[+-]?(\d+\.|\.\d+)(e[+-]?\d+)?", text, re.I) else text


def sort_settings(settings: Mapping[str, object], rules: Sequence[type[Rule]]) -> Settings:
    """Each setting to its place; UnknownNameError for one that no place knows.

    A bare option goes to every rule, and every rule must have it.
    """
    options = {rule.name: dict.fromkeys(rule.Config.model_fields) for rule in rules}
    result = Settings(rules={name: {} for name in options})
    for setting, value in settings.items():
        section, dot, option = setting.rpartition(".")
        # of a table in a section, too: task.pruning.sparsity, optimizer.layer_rates.2
        if setting.startswith(_SECTION_STARTS):
            section, dot, option = setting.partition(".")
        if not dot:
            for rule, known in options.items():
                if option not in known:
                    hint = meant(option) or _hint(rules)
                    raise UnknownNameError(f"option of {rule}", option, known, hint)
                result.rules[rule][option] = value
        elif section in SECTIONS:
            if section != "task" and option in _SYNONYMS:
                fields = OptimizerSpec.model_fields
                raise UnknownNameError("optimizer setting", option, fields, meant(option))
            getattr(result, section)[option] = value
        elif section in result.rules:
            if option not in options[section]:
                known = options[section]
                raise UnknownNameError(f"option of {section}", option, known, meant(option))
            result.rules[section][option] = value
        else:
            known_sections = [*options, *SECTIONS]
            hint = _OWN_TASK if setting.startswith("network.") else ""
            raise UnknownNameError(f"section of {setting!r}:", section, known_sections, hint)
    return result


_SYNONYMS = {
    "rate": "lr",
    "learning_rate": "lr",
    "learning-rate": "lr",
    "learningrate": "lr",
    "beta": "betas",
    "decay": "weight_decay",
    "batchsize": "batch_size",
    "batch-size": "batch_size",
    "batch": "batch_size",
}
"""What people call settings of optimizers and tasks -> what they are called here."""
_OPTIONS = ("rule", "task", "seeds", "epochs", "device", "precision", "compile", "results")
"""Options of the command line itself."""


def meant(option: str) -> str:
    """`; ...` where an option that no rule has is another thing's setting; else ''."""
    name = _SYNONYMS.get(option.lower(), option.lower())
    option = name if name.endswith("s") or f"{name}s" not in _OPTIONS else f"{name}s"
    if option in _OPTIONS:
        return f"; it is an option of the command: --{option}"
    if option.startswith("task."):
        return f"; leave out task.: {option[5:]}"
    if name in OptimizerSpec.model_fields and name != "name":
        return f"; the optimizer's is set with --set optimizer.{name}=..."
    if name in Task.model_fields:
        changed = f"is set with --set task.{name}=..."
        return f"; the task's {changed}" if name not in ("name", "network") else _OWN_TASK
    return ""


_OWN_TASK = (
    "; to change it, make a task of your own: `bioplaus show TASK > my-task.toml`, and "
    "--task my-task.toml"
)


def _hint(rules: Sequence[type[Rule]]) -> str:
    example = rules[0].name
    return f" (a setting of one rule alone: {example}.option=value)" if len(rules) > 1 else ""
