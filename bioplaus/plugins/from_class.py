"""A rule from its class, for this process: as written in a notebook or a script."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from bioplaus.learning.rule import LearningRule
from bioplaus.plugins import registry
from bioplaus.plugins.rules import check_rule_class


@dataclass(frozen=True)
class ClassPlugin(registry.Plugin):
    """A rule's class, which cannot be imported by a name."""

    loaded: type[LearningRule[Any]] | None = None

    def load(self) -> Any:
        """The class."""
        return self.loaded


def named_rule(cls: type[LearningRule[Any]]) -> str:
    """The name by which a class is found from now on: registered, unless it is already.

    Raises PluginError for a class that is no whole rule, or whose name another rule has.
    """
    check_rule_class(cls)
    known = registry.plugins("rule").get(cls.name)
    if known is not None and _is_of(known, cls):
        return cls.name
    module = inspect.getmodule(cls)
    file = getattr(module, "__file__", None)
    source = str(file) if file else f"the class {cls.__qualname__}"
    target = f"{cls.__module__}:{cls.__qualname__}"
    registry.add(ClassPlugin("rule", cls.name, target, source, _checksum(cls, file), loaded=cls))
    return cls.name


def _is_of(plugin: registry.Plugin, cls: type[LearningRule[Any]]) -> bool:
    if isinstance(plugin, ClassPlugin):
        return plugin.loaded is cls
    return plugin.target == f"{cls.__module__}:{cls.__qualname__}" and plugin.load() is cls


def _checksum(cls: type[LearningRule[Any]], file: str | None) -> str:
    """SHA-256 of the file, or in a notebook of the code of the class and of its bases there."""
    if file is not None:
        return sha256(Path(file).read_bytes()).hexdigest()
    parts = []
    for base in cls.__mro__:
        module = inspect.getmodule(base)
        if base.__module__ == cls.__module__ and getattr(module, "__file__", None) is None:
            for item in vars(base).values():
                item = inspect.unwrap(
                    getattr(item, "fget", None) or getattr(item, "__func__", item)
                )
                code = getattr(item, "__code__", None)
                parts.append(_code(code) if code else repr(item) if _plain(item) else "")
    return sha256("\n".join(parts).encode()).hexdigest()


def _plain(item: object) -> bool:
    return isinstance(item, str | int | float | bool | tuple | None)


def _code(code: Any) -> str:
    constants = [_code(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {constants}"
