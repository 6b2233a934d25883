"""`bioplaus show`: what a name means."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from bioplaus import suites, tasks
from bioplaus.errors import BioplausError, PluginError, UnknownNameError, near_to, shown
from bioplaus.plugins import registry
from bioplaus.system.shell import bioplaus

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from bioplaus.tasks.fields import Table


def _is_field(name: str) -> bool:
    from bioplaus.tasks import fields

    return any(fields.found(name))


_KINDS: dict[str, Callable[[str], bool]] = {
    "suite": lambda name: name in suites.names(),
    "task": lambda name: name in tasks.names(),
    "axis": lambda name: name in registry.plugins("axis"),
    "rule": lambda name: name in registry.plugins("rule"),
    "dataset": lambda name: name in registry.plugins("dataset"),
    "field": _is_field,
}
"""What can be shown, and whether a name is one; the first that it is, is meant."""


def can_show(name: str) -> bool:
    """Whether there is anything of that name."""
    return any(is_one(name) for is_one in _KINDS.values())


@click.command(short_help="Explain a rule, dataset, axis or task field; print a task or suite.")
@click.argument("name")
@click.option("--as", "kind", type=click.Choice([*_KINDS]), help="Where several have the name.")
def show(name: str, kind: str | None) -> None:
    """Explain a rule: its source, equations, options and plausibility profile.

    For a built-in task or suite, print its file: `bioplaus show mnist-mlp > my-task.toml`. For
    a dataset, what it holds and the tasks on it; for a field, table or layer of task files,
    what it may be: `bioplaus show early_stopping`.
    """
    kinds = [k for k, is_one in _KINDS.items() if kind in (None, k) and is_one(name)]
    if not kinds:
        raise _unknown(name, kind)
    for other in kinds[1:]:
        line = bioplaus("show", name, "--as", other)
        click.echo(f"There is a {other} of this name, too: `{line}`", err=True)
    _SHOWING[kinds[0]](name)


def _unknown(name: str, kind: str | None) -> BioplausError:
    known = [n for k in ("rule", "dataset", "axis") for n in registry.names(k)]
    known += [*tasks.names(), *suites.names()]
    if kind in ("rule", "dataset", "axis"):
        known = registry.names(kind)
    elif kind in ("task", "suite"):
        known = tasks.names() if kind == "task" else suites.names()
    else:
        from bioplaus.tasks import fields

        own = [field for table in fields.tables() for field in (*table.path, *table.fields)]
        known = own if kind == "field" else [*known, *own]
    if near_to(name, known):
        return UnknownNameError(kind or "name", name, set(known))
    return BioplausError(
        f"nothing is called {shown(repr(name), 60)}: `bioplaus list` names rules, datasets, tasks, "
        "suites, layers and axes, and docs/tasks.md the fields of task files"
    )


def _show_suite(name: str) -> None:
    _print_file(suites.text(name))


def _show_task(name: str) -> None:
    _print_file(tasks.text(name))


def _print_file(text: str) -> None:
    """TOML is UTF-8, whatever the encoding of where it is piped to."""
    click.echo(text if sys.stdout.isatty() else text.encode(), nl=False)


def _show_rule(name: str) -> None:
    """A rule class in words; wrapped to the terminal, plain where piped."""
    from bioplaus.plugins.rules import check_profile, rule_class

    rule: Any = rule_class(name)
    source = registry.find("rule", name).source
    made = rule.configured()
    check_profile(made)
    lines = [
        f"{rule.name}  (version {rule.version}, from {source})",
        inspect.getdoc(rule) or "",
        *([f"A preset of {rule.preset_of}: the same rule, other defaults."] * bool(rule.preset_of)),
        "",
        f"Source: {rule.citation}",
    ]
    if rule.citation.equations:
        lines.append(f"        {rule.citation.equations}")
    module = inspect.getdoc(inspect.getmodule(rule))
    if module and "\n" in module:
        lines += ["", "Equations", *(f"  {line}".rstrip() for line in module.splitlines())]
    lines += ["", "Options (--set NAME=VALUE)"]
    fields = rule.Config.model_fields
    lines += [line for name, field in fields.items() for line in _option(name, field)]
    lines += [] if fields else ["  none"]
    if made.optimizer is not None:
        lines += ["", f"Recommended optimizer: {_settings(made.optimizer)}"]
    if made.aux_optimizer is not None:
        own = "as the network's" if made.aux_optimizer == "same" else _settings(made.aux_optimizer)
        lines += ["", f"Optimizer of its auxiliary parameters: {own}"]
    lines += ["", "Plausibility, with the default options"]
    for name, value in made.plausibility.model_dump().items():
        if value != "":
            shown = {True: "yes", False: "no"}.get(value, value)
            lines.append(f"  {name.replace('_', ' '):<18} {shown}")
    click.echo("\n".join(lines))


def _show_axis(name: str) -> None:
    """An axis in words."""
    from bioplaus.axes.by_name import axis_class

    axis, source = axis_class(name), registry.find("axis", name).source
    module = inspect.getdoc(inspect.getmodule(axis)) or ""
    lines = [f"{name}  (version {axis.version}, from {source})", inspect.getdoc(axis) or "", ""]
    lines += [*module.splitlines(), "", "Settings (--set NAME=VALUE)"]
    fields = axis.Config.model_fields
    lines += [line for key, field in fields.items() for line in _option(key, field)]
    click.echo("\n".join([*lines, *([] if fields else ["  none"])]))


def _show_dataset(name: str) -> None:
    """A data set in words; nothing of it is read."""
    from bioplaus.tasks.door import load_dataset

    data, source = load_dataset(name), registry.find("dataset", name).source
    numbers = "numbers to learn" if data.targets == "values" else "classes"
    lines = [f"{name}  (from {source})", inspect.getdoc(type(data)) or "", ""]
    lines += [f"One example  {' x '.join(map(str, data.shape))}, {data.classes} {numbers}"]
    if data.sizes:
        parts = [f"{count:,} to {use}" for use, count in data.sizes.items()]
        lines += [f"Examples     {', '.join(parts)}"]
    on = [task for task in tasks.names() if _dataset_of(task) == name]
    own = f'none yet: write dataset = "{name}" into what `bioplaus show digits-mlp` prints'
    lines += [f"Tasks        {', '.join(on) or own}"]
    click.echo("\n".join(lines))


def _dataset_of(task: str) -> object:
    try:
        return tasks.table(task).get("dataset")
    except PluginError:
        return None


def _show_field(name: str) -> None:
    """A table, or a single field, of task files."""
    from bioplaus.tasks import fields

    whole, single = fields.found(name)
    lines: list[str] = []
    for table in whole:
        first = next(iter(table.fields), None)
        lines += [f"{_place(table)}, a table of task files", "", table.what, ""]
        lines += [line for key, info in table.fields.items() for line in _option(key, info)]
        lines += [*(_settable(table, first) if first else []), ""]
    places: dict[tuple[str, ...], list[str]] = {}
    for table, field in single:
        text = (*_option(field, table.fields[field]), *_settable(table, field))
        places.setdefault(text, []).append(_place(table) or "the task itself")
    for text, where in places.items():
        lines += [f"{name}, a field of {', '.join(where)}", *text, ""]
    click.echo("\n".join(lines).rstrip())


def _place(table: Table) -> str:
    return ".".join(table.path)


def _settable(table: Table, field: str) -> list[str]:
    """How a field is set from the command line, where it can be."""
    from bioplaus.tasks import fields

    name = fields.setting(table, field)
    return [f"  for one run: --set {name}=VALUE"] if name else []


def _option(name: str, field: FieldInfo) -> list[str]:
    from bioplaus.tasks import fields

    limits = [_limit(mark) for mark in field.metadata]
    facts = ", ".join(part for part in (fields.in_words(field.annotation), *limits) if part)
    default = "required" if field.is_required() else repr(field.default)
    return [
        f"  {name} = {default}  ({facts})",
        *[f"      {field.description}"] * bool(field.description),
    ]


def _limit(mark: object) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " and ".join(
        f"{sign} {getattr(mark, key)}" for key, sign in signs.items() if hasattr(mark, key)
    )


def _settings(spec: Any) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in spec.settings().items())
    return f"{spec.name}({settings})"


_SHOWING = {
    "suite": _show_suite,
    "task": _show_task,
    "axis": _show_axis,
    "rule": _show_rule,
    "dataset": _show_dataset,
    "field": _show_field,
}
