"""Settings given by name: `ortho=0.05`, `gaitprop.ortho=0.05`, `optimizer.lr=1e-4`, ..."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.learning.batching import Rule

SECTIONS = ("optimizer", "aux_optimizer", "task")


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
            raise ConfigError(f"{name} is set twice")
        settings[name] = _value(text.strip())
    return settings


def _value(text: str) -> object:
    literal = text.lower() if text.lower() in ("true", "false") else text
    try:
        return tomllib.loads(f"value = {literal}")["value"]
    except (ValueError, RecursionError):  # no TOML, or too deep or too long a number for Python
        return text


def sort_settings(settings: Mapping[str, object], rules: Sequence[type[Rule]]) -> Settings:
    """Each setting to its place; UnknownNameError for one that no place knows.

    A bare option goes to every rule, and every rule must have it.
    """
    options = {rule.name: dict.fromkeys(rule.Config.model_fields) for rule in rules}
    result = Settings(rules={name: {} for name in options})
    for setting, value in settings.items():
        section, dot, option = setting.rpartition(".")
        if not dot:
            for rule, known in options.items():
                if option not in known:
                    raise UnknownNameError(f"option of {rule}", option, known, _hint(rules))
                result.rules[rule][option] = value
        elif section in SECTIONS:
            getattr(result, section)[option] = value
        elif section in result.rules:
            result.rules[section][option] = value
        else:
            known_sections = [*options, *SECTIONS]
            raise UnknownNameError(f"section of {setting!r}:", section, known_sections)
    return result


def _hint(rules: Sequence[type[Rule]]) -> str:
    example = rules[0].name
    return f" (a setting of one rule alone: {example}.option=value)" if len(rules) > 1 else ""
