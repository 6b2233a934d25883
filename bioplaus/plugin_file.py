"""A rule from a Python file, for this process: to try one without a package."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from bioplaus import registry
from bioplaus.errors import PluginError


def add_rules(path: str) -> list[str]:
    """Register every rule that a file defines, and return their names.

    Raises PluginError, in one line, where the file cannot be read or run, defines no rule,
    or one whose name is taken.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PluginError(f"cannot read the plugin file {path}: {error.strerror}") from None
    if file.suffix != ".py":
        raise PluginError(f"the plugin file {path} is not a Python file (*.py)")
    checksum = sha256(content).hexdigest()
    module = _import(file, f"bioplaus_plugin_{checksum[:16]}")
    rules = _rules(module)
    if not rules:
        raise PluginError(
            f"{path} defines no learning rule: derive a class from bioplaus.LayeredRule or "
            "bioplaus.LearningRule, with a `name`"
        )
    for name, attribute in rules.items():
        target = f"{module.__name__}:{attribute}"
        registry.add(registry.Plugin("rule", name, target, str(file), checksum))
    return list(rules)


def _import(file: Path, name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
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
    from bioplaus.rule import LearningRule

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
