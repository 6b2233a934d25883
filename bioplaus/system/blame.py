"""Whatever somebody's plugin raises, as one line that says whose it is and where."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bioplaus.errors import BioplausError, ConfigError, PluginError, shown, validation_message

_CORE = str(Path(__file__).resolve().parents[1]) + os.sep
_PLUGINS = ("rules", "datasets", "reports", "loggers")
"""What of bioplaus comes in as anybody's plugins do."""
_LIBRARIES = tuple({sysconfig.get_path(key) + os.sep for key in ("stdlib", "purelib", "platlib")})


@contextlib.contextmanager
def blaming(
    whose: str,
    plugin: object = None,
    hint: Callable[[str], str] = lambda message: "",
    own: bool = False,
) -> Iterator[None]:
    """PluginError in the place of what is raised inside; `whose` begins its line.

    hint: what to do about a message, where it is known; it ends the line.

    plugin: an object or class of it, whose files' lines are named before any others. What is
    a BioplausError already passes; BIOPLAUS_TRACEBACK=1 lets everything pass.

    own: no user's settings are read inside, so that a ConfigError, of a field that is filled
    wrongly, say, is the plugin's fault too.
    """
    try:
        yield
    except BioplausError as error:
        if not own or not isinstance(error, ConfigError):
            raise
        where = place(error, files_of(plugin))
        raise PluginError(f"{whose}: {error}" + (f" ({where})" if where else "")) from error
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        if os.environ.get("BIOPLAUS_TRACEBACK"):
            raise
        way = hint(str(error))
        said = described(error, files_of(plugin), 90 if way else 300)
        raise PluginError(f"{whose}: {said}" + (f"; {way}" if way else "")) from error


def described(error: BaseException, files: Sequence[str] = (), longest: int = 300) -> str:
    """`KeyError: 'x' (line 7 of mine.py)`: the type, the first line, and where."""
    text = first_line(error)
    where = place(error, files)
    said = f"{type(error).__name__}: {shown(text, longest)}" if text else type(error).__name__
    return f"{said} ({where})" if where else said


def place(error: BaseException, files: Sequence[str] = ()) -> str:
    """The innermost line in one of these files, else in anybody's but the core's and libraries'.

    '' where there is none: it was raised before the plugin had a say.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"line {error.lineno} of {Path(error.filename).name}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if os.path.abspath(f.filename) in files]
    others = [f for f in frames if not _ours(f.filename)]
    found = theirs or others
    return f"line {found[-1].lineno} of {Path(found[-1].filename).name}" if found else ""


def first_line(error: BaseException) -> str:
    """What an exception says, on one line."""
    from pydantic import ValidationError  # imported late: listing plugins needs none of it

    if isinstance(error, ValidationError):
        return validation_message(error)
    if isinstance(error, SyntaxError):
        return error.msg
    return str(error).strip().partition("\n")[0]


def files_of(plugin: object) -> list[str]:
    """The files of a class, or of an object's class, and of its bases outside the core."""
    if plugin is None:
        return []
    cls = plugin if inspect.isclass(plugin) else type(plugin)
    found = []
    for base in cls.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if (
            file
            and not _is_core(base.__module__)
            and base.__module__ not in sys.stdlib_module_names
        ):
            found.append(os.path.abspath(file))
    return found


def _is_core(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package == "bioplaus" and rest.partition(".")[0] not in _PLUGINS


def _ours(file: str) -> bool:
    """Whether a file is the core's, a library's or no file at all."""
    path = os.path.abspath(file)
    if not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts):
        return True  # of another environment, which this one borrows from
    return not os.path.isfile(path) or path.startswith((_CORE, *_LIBRARIES))
