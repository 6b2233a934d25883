"""A rule from a Python file, for this process: to try one without a package.

Jobs for other processes take the files along, see `Carried`.
"""

from __future__ import annotations

import copyreg
import importlib.util
import inspect
import io
import os
import pickle
import re
import sys
import tokenize
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from bioplaus.errors import PluginError
from bioplaus.plugins import registry
from bioplaus.plugins.names import fault
from bioplaus.plugins.old_imports import hint
from bioplaus.system.blame import described
from bioplaus.system.paths import expanded


def add_rules(path: str) -> list[str]:
    """Register every rule that a file defines, and return their names.

    Raises PluginError, in one line, where the file cannot be read or run, defines no rule,
    or one whose name is none or is taken. The registry then knows its rules as broken, for
    the same reason, so that whoever asks for one of them by name is told.
    """
    file = expanded(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PluginError(
            f"cannot read the plugin file {path}: {error.strerror}; `bioplaus new rule NAME` "
            "starts one"
        ) from None
    if file.suffix != ".py":
        raise PluginError(f"the plugin file {path} is not a Python file (*.py)")
    given = PluginFile(str(file), content)
    try:
        return _add(given)
    except PluginError as error:
        for name in _named_in(content):
            broken = registry.Plugin("rule", name, "", given.path, given.checksum)
            registry.add_broken(broken, str(error))
        raise


class PluginFile(NamedTuple):
    """A file as it was when it was taken."""

    path: str
    content: bytes

    @property
    def checksum(self) -> str:
        """SHA-256."""
        return sha256(self.content).hexdigest()


class Carried:
    """Base of what pickles together with the files that this process took rules from.

    The process that unpickles it takes the same rules first: it needs neither the files nor
    to be told of them.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        files = _taken()
        parts = copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]
        return (_unpacked, (files, pickle.dumps(parts))) if files else parts


_FILES: dict[str, PluginFile] = {}
"""All files ever taken, by checksum."""


def _taken() -> list[PluginFile]:
    """The files of the rules that are registered now."""
    found = {p.checksum for p in registry.from_files("rule") if p.checksum in _FILES}
    return [file for checksum, file in _FILES.items() if checksum in found]


def _unpacked(files: list[PluginFile], parts: bytes) -> object:
    known = {plugin.checksum for plugin in registry.from_files("rule")}
    for file in files:
        if file.checksum not in known:
            _add(file)
    make, arguments, state = pickle.loads(parts)  # from the process that handed out the job
    item: object = make(*arguments)
    vars(item).update(state)
    return item


def _add(given: PluginFile) -> list[str]:
    path, checksum = given.path, given.checksum
    module = _import(given, f"bioplaus_plugin_{checksum[:16]}")
    rules = _rules(module)
    if not rules:
        raise PluginError(
            f"{path} defines no learning rule: derive a class from bioplaus.LayeredRule or "
            "bioplaus.LearningRule, with a `name`"
        )
    _FILES[checksum] = given
    wrong = []
    for name, attribute in rules.items():
        target = f"{module.__name__}:{attribute}"
        try:
            registry.add(registry.Plugin("rule", name, target, path, checksum))
        except PluginError as error:  # the others of the file are added all the same
            wrong.append(str(error))
    if wrong:
        raise PluginError("; ".join(wrong))
    return list(rules)


def names_in(path: str) -> list[str]:
    """The names that classes in a file give themselves; none where it cannot be read."""
    try:
        return _named_in(expanded(path).read_bytes())
    except OSError:
        return []


def _named_in(content: bytes) -> list[str]:
    """The names that classes in a file give themselves, as far as its text shows."""
    text = content.decode("utf-8", errors="replace")
    return re.findall(
        r"""^[ \t]+name(?:[ \t]*:[^=\n]*)?[ \t]*=[ \t]*["']([^"'\n]*)["']""", text, re.M
    )


class _Loader(SourceFileLoader):
    """Runs the content that was read, whatever has become of the file since."""

    def __init__(self, name: str, given: PluginFile) -> None:
        super().__init__(name, given.path)
        self._content = given.content

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._content, self.path, "exec", dont_inherit=True)


def _import(given: PluginFile, name: str) -> ModuleType:
    file = Path(given.path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_Loader(name, given))
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.resolve().parent))  # its neighbours, as for a script
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        del sys.modules[name]
        if not is_text(given.content):
            raise PluginError(f"{file} is not UTF-8 text: save it as UTF-8") from None
        raise PluginError(
            f"{file} does not run: {described(error, [os.path.abspath(file)])}"
            f"{hint(error, given.content)}"
        ) from error
    finally:
        sys.path.pop(0)
    return module


def is_text(content: bytes) -> bool:
    """Whether Python may read it: it has no NUL, and is UTF-8 or says what else it is."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        content.decode(encoding)
    except (SyntaxError, ValueError):
        return False
    return b"\0" not in content


def _rules(module: ModuleType) -> dict[str, str]:
    """name -> class, of the rules that the module itself defines."""
    from bioplaus.learning.rule import LearningRule

    found: dict[str, str] = {}
    for attribute, item in vars(module).items():
        own = inspect.isclass(item) and item.__module__ == module.__name__
        if not own or not issubclass(item, LearningRule):
            continue
        name = getattr(item, "name", None)
        if name is None:  # a base of others
            continue
        if wrong := fault("rule", name):
            raise PluginError(f"{module.__file__}: {wrong} (class {attribute})")
        missing = sorted(getattr(item, "__abstractmethods__", ()))
        if missing:
            raise PluginError(
                f"the rule {name!r} in {module.__file__} lacks {', '.join(missing)}: "
                f"define {'it' if len(missing) == 1 else 'them'} in the class {attribute}"
            )
        if name in found:
            raise PluginError(f"{module.__file__} defines two rules called {name!r}")
        found[name] = attribute
    return found
