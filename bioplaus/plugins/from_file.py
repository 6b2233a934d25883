"""A rule from a Python file, for this process: to try one without a package.

Jobs for other processes take the files along, see `Carried`.
"""

from __future__ import annotations

import copyreg
import importlib.util
import inspect
import pickle
import sys
import traceback
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from bioplaus.errors import PluginError
from bioplaus.plugins import registry


def add_rules(path: str) -> list[str]:
    """Register every rule that a file defines, and return their names.

    Raises PluginError, in one line, where the file cannot be read or run, defines no rule,
    or one whose name is taken.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PluginError(f"cannot read the plugin file {path}: {error.strerror}") from None
    if Path(path).suffix != ".py":
        raise PluginError(f"the plugin file {path} is not a Python file (*.py)")
    return _add(PluginFile(path, content))


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
    for name, attribute in rules.items():
        target = f"{module.__name__}:{attribute}"
        registry.add(registry.Plugin("rule", name, target, path, checksum))
    _FILES[checksum] = given
    return list(rules)


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
    except Exception as error:  # a stranger's module may raise anything
        del sys.modules[name]
        raise PluginError(f"{file} does not run: {_described(error, file)}") from error
    finally:
        sys.path.pop(0)
    return module


def _described(error: Exception, file: Path) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"


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
