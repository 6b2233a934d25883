"""The command that trains a configuration again, from what its records say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bioplaus import tasks
from bioplaus.records.schema import Record
from bioplaus.system.shell import bioplaus

_SECTIONS = {"": "options", "optimizer.": "optimizer", "aux_optimizer.": "aux_optimizer",
             "task.": "task"}  # fmt: skip


def run_again(records: Sequence[Record]) -> str:
    """`bioplaus run` for these records, of one configuration and any seeds.

    A task of one's own is named by the file that the records' command names, a rule from a
    file by that file.
    """
    first = records[0]
    content, origin = first.configuration, first.provenance
    words = ["--task", task_word(first.task, origin.get("command"))]
    words += plugin_words(content, origin)
    words += ["--seeds", seeds_word(r.seed for r in records)]
    if isinstance(content.get("epochs"), int):
        words += ["--epochs", str(content["epochs"])]
    named = names_in(first.label)
    settings = {
        prefix + name: value
        for prefix, section in _SECTIONS.items()
        for name, value in sorted(_settings(_mapping(content.get(section))))
        if prefix + name in named and value is not None
    }
    words += set_words(settings)
    if content.get("precision") not in (None, "fp32"):
        words += ["--precision", str(content["precision"])]
    return bioplaus("run", "--rule", first.rule, *words)


def _settings(section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a section sets: its values, and those within its tables ("pruning.sparsity")."""
    for name, value in section.items():
        yield name, value
        yield from ((f"{name}.{part}", inner) for part, inner in _settings(_mapping(value)))


def task_word(name: str, command: object) -> str:
    """What `--task` takes: the name of a task that is installed, or the file of another.

    command: of a provenance. Where it names no file, as that of a suite does not, the name.
    """
    words = [str(word) for word in command] if isinstance(command, list) else []
    given = [value for option, value in pairwise(words) if option == "--task"]
    given += [w.removeprefix("--task=") for w in words if w.startswith("--task=")]
    files = [word for word in given if word.endswith(".toml")]
    return name if name in tasks.names() or not files else files[0]


def plugin_words(configuration: Mapping[str, Any], origin: Mapping[str, Any]) -> list[str]:
    """`--plugin FILE` for a rule that was taken from a file; nothing for an installed one."""
    source = _mapping(origin.get("rule")).get("source")
    from_file = "rule_sha256" in configuration and isinstance(source, str)
    return ["--plugin", str(source)] if from_file else []


def set_words(settings: Mapping[str, object]) -> list[str]:
    """`--set NAME=VALUE` for each."""
    return [w for name, value in settings.items() for w in ("--set", f"{name}={literal(value)}")]


def names_in(label: str) -> set[str]:
    """The settings that a label names: `ortho` and `optimizer.lr` of `ortho=0.1 optimizer.lr=1`."""
    return set(re.findall(r"(?:^| )([A-Za-z_][\w.]*)=", label))


def seeds_word(seeds: Iterable[int]) -> str:
    """What `--seeds` takes for exactly these: `[0, 1, 2, 7]` -> `0-2,7`, `[3]` -> `3-3`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    if len(runs) == 1:  # a number alone is how many
        return f"{runs[0][0]}-{runs[0][-1]}"
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def literal(value: object) -> str:
    """A value as `--set` reads it; bare text where that is no TOML value."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
