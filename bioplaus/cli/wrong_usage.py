"""What was typed and is no command: what is wrong, what may be meant, and where to read on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping

import click

from bioplaus import suites, tasks
from bioplaus.cli.show import can_show
from bioplaus.errors import closest, near_to
from bioplaus.plugins import registry
from bioplaus.system.secrets import redacted
from bioplaus.system.shell import bioplaus, quoted

_TYPED = f"{__name__}.typed"
"""Where a context keeps the words behind its command's name."""
_SYNONYMS = {
    **dict.fromkeys(("train", "fit", "learn", "start"), "run"),
    **dict.fromkeys(("plot", "table", "board", "leaderboard", "results", "html"), "report"),
    **dict.fromkeys(("info", "explain", "describe", "print"), "show"),
    **dict.fromkeys(("test", "validate", "conformance"), "check"),
    **dict.fromkeys(("benchmark", "suite", "sweep"), "bench"),
    **dict.fromkeys(("search", "optimize", "optimise", "hpo"), "tune"),
    **dict.fromkeys(("create", "init", "scaffold", "template"), "new"),
    **dict.fromkeys(("evaluate", "eval"), "measure"),
    **dict.fromkeys(("time", "profile"), "speed"),
    **dict.fromkeys(("reproduce", "replay"), "verify"),
    **dict.fromkeys(("ls", "rules", "tasks", "datasets"), "list"),
}
"""What other programs call it -> the command."""


def _one_of(names: list[str], word: str) -> list[str]:
    return [word] if word in names else near_to(word, names)[:1]


def _where(fits: bool, word: str) -> list[str]:
    return [word] if fits else []


_VALUES: dict[str, Callable[[str], list[str]]] = {
    "--rule": lambda word: _one_of(registry.names("rule"), word),
    "--task": lambda word: _where(word.endswith(".toml"), word) or _one_of(tasks.names(), word),
    "--plugin": lambda word: _where(word.endswith(".py"), word),
    "--set": lambda word: _where("=" in word, word),
    "--results": lambda word: _where(os.path.isdir(word), word),
    "--device": lambda word: _where(bool(re.fullmatch("cpu|auto|cuda(:[0-9]+)?", word)), word),
    "--seeds": lambda word: _where(bool(re.fullmatch("[0-9]+([-,][0-9]+)*", word)), word),
    "--epochs": lambda word: _where(word.isdecimal(), word),
}
"""An option -> the values that a word may be meant as, without the option before it."""


_ONE_AT_A_TIME: dict[str, Callable[[str], bool]] = {
    "show": can_show,
    "bench": lambda word: word in suites.names(),
}
"""A command -> whether a word is one of what it takes one of."""


class WrongUsage(click.ClickException):
    """A usage error in one line."""

    exit_code = 2

    def __init__(self, error: click.UsageError) -> None:
        said, ctx = " ".join(error.format_message().split()).rstrip("."), error.ctx
        if ctx is not None:
            said = _with_hint(said, error, ctx)
        words = ctx.command_path.split()[1:] if ctx is not None else []
        super().__init__(redacted(f"{said}; see `{bioplaus(*words, '--help')}`", *sys.argv))


def in_one_line(error: click.UsageError) -> click.ClickException:
    """The same; help that was asked for by giving nothing stays as it is."""
    return error if isinstance(error, click.exceptions.NoArgsIsHelpError) else WrongUsage(error)


def note_typed(ctx: click.Context, words: list[str]) -> None:
    """Keep the words behind a command's name for the hint, should they be wrong."""
    ctx.meta[_TYPED] = [*words]


def check_once(ctx: click.Context, command: click.Command, words: list[str]) -> None:
    """UsageError where an option is given two values that takes one, and several elsewhere.

    Of another the last counts, as in any program: whoever adds one to a line overrides it.
    """
    several = {
        name
        for other in _commands(ctx).values()
        for param in other.params
        if isinstance(param, click.Option) and param.multiple
        for name in param.opts
    }
    inner = click.Context(command, info_name=command.name, parent=ctx)
    try:
        _, _, order = command.make_parser(inner).parse_args([*words])
    except click.UsageError:
        return  # it is told where the words are read in earnest
    for param in order:
        if not isinstance(param, click.Option) or param.multiple or several.isdisjoint(param.opts):
            continue
        if sum(other is param for other in order) > 1:
            raise click.UsageError(f"{param.opts[-1]} is given twice: give it once", inner)


def _with_hint(said: str, error: click.UsageError, ctx: click.Context) -> str:
    """What is wrong, and what may be meant instead."""
    command = ctx.command
    if isinstance(command, click.Group) and said.startswith("No such command"):
        word = said.split("'")[1] if "'" in said else ""
        return f"No such command {word!r}{_command_meant(word, command, ctx)}"
    if isinstance(error, click.NoSuchOption):
        return f"No such option {error.option_name!r}{_option_meant(error.option_name, ctx)}"
    for word in _without_option(error, ctx):
        if meant := _options_for(word, command):
            return f"{said}; did you mean {' or '.join(meant)}?"
        name = command.name or ""
        if "extra" in said and name in _ONE_AT_A_TIME and _ONE_AT_A_TIME[name](word):
            return f"{said}: one at a time; then `{bioplaus(name, word)}`"
        run = _commands(ctx).get("run")
        if "extra" in said and run is not None and (meant := _options_for(word, run)):
            return f"{said}; `bioplaus run` takes it, as {meant[0]}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{said}{_what_is_due(error.param)}"
    return said


def _what_is_due(param: click.Parameter) -> str:
    """`; write --into DIR`, or where the names are that an argument may be."""
    if isinstance(param, click.Option):
        return f"; write `{param.opts[-1]} {_metavar(param)}`"
    kind = (param.metavar or "").lower()
    return f"; `bioplaus list {kind}s` names them" if kind in ("rule", "task", "suite") else ""


def _metavar(param: click.Option) -> str:
    return param.metavar or param.type.name.upper()


def _commands(ctx: click.Context) -> Mapping[str, click.Command]:
    root = ctx.find_root().command
    return root.commands if isinstance(root, click.Group) else {}


def _without_option(error: click.UsageError, ctx: click.Context) -> Iterator[str]:
    """The words that stand without an option before them, where one too many or too few does."""
    if extra := re.search(r"extra arguments? \((.*)\)", error.format_message()):
        yield from extra[1].split()
    elif isinstance(error, click.BadParameter) and _TYPED in ctx.meta:
        try:
            parser = ctx.command.make_parser(ctx)
            given, alone, _ = parser.parse_args([*ctx.meta[_TYPED]])
        except click.UsageError:
            return
        if isinstance(error, click.MissingParameter):
            yield from alone
        elif isinstance(error.param, click.Argument) and error.param.nargs == 1:
            yield str(given.get(error.param.name))


def _options_for(word: str, command: click.Command) -> list[str]:
    """The options that a word may be meant as, each with its value, in backquotes."""
    found = []
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        name = option.opts[-1]
        values = _VALUES[name](word) if name in _VALUES else []
        if isinstance(option.type, click.Choice) and word in option.type.choices:
            values = [word]
        found += [f"`{quoted(name, value)}`" for value in values]
    return found


def _command_meant(word: str, group: click.Group, ctx: click.Context) -> str:
    """`; did you mean ...?` for a word that is no command of a group."""
    near = closest(word, group.commands)
    commands = _commands(ctx)
    if group is not ctx.find_root().command:
        return _shown_instead(word) or near
    if word in _SYNONYMS:
        return f"; did you mean `{bioplaus(_SYNONYMS[word])}`?"
    if near.startswith("; did you mean"):
        return near
    if word in suites.names():
        return f"; did you mean `{bioplaus('bench', word)}`?"
    meant = _options_for(word, commands["run"]) if "run" in commands else []
    return f"; did you mean `bioplaus run {meant[0][1:]}?" if meant else near


def _shown_instead(word: str) -> str:
    """What is no kind of thing to list, and can be shown: a rule, a field of task files."""
    found = [w for w in (word, word.removesuffix("s"), word.replace("-", "_")) if can_show(w)]
    return f"; `{bioplaus('show', found[0])}` explains it" if found else ""


def _option_meant(option: str, ctx: click.Context) -> str:
    """`; did you mean ...?`, or which commands have it."""
    if setting := _setting_of(option, ctx.command):
        return f"; did you mean `--set {setting}=VALUE`?"
    own = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts)]
    if near := near_to(option, [name for name in own if name.startswith("--")]):
        return f"; did you mean {near[0]}?"
    for param in ctx.command.params:
        if isinstance(param, click.Argument):
            metavar = (param.metavar or param.name or "").strip("[].").lower()
            if option.strip("-").rstrip("s") == metavar:
                path = bioplaus(*ctx.command_path.split()[1:])
                return f"; a {metavar} is given without it, as in `{path} NAME`"
    having = [
        f"`bioplaus {name}`"
        for name, command in _commands(ctx).items()
        if any(option in param.opts for param in command.params)
    ]
    if not having:
        return ""
    return f"; {' and '.join(having[:3])} {'has' if len(having) == 1 else 'have'} it"


def _setting_of(option: str, command: click.Command) -> str | None:
    """What `--set` calls a field of tasks or optimizers, where the command has it."""
    if not any("--set" in param.opts for param in command.params):
        return None
    from bioplaus.tasks import fields

    _, single = fields.found(option.strip("-").replace("-", "_"))
    names = [name for table, field in single if (name := fields.setting(table, field))]
    return names[0] if len(names) == 1 else None
