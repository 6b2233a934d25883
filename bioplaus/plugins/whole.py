"""Whether a plugin's class is what its kind asks for: derived, complete, callable as it will be."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any


def fault(cls: Any, base: type, called: str) -> str | None:
    """What is wrong with a class and what to do, None for nothing; nothing of it is called.

    called: what people import `base` as.
    """
    if not inspect.isclass(cls) or not issubclass(cls, base):
        return f"derive its class from {called}"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        due = [declaration(base, name) for name in missing]
        return f"it lacks {', '.join(missing)}: define {'; '.join(due)}"
    return next((wrong for name in _methods(base) if (wrong := _misfit(cls, base, name))), None)


def declaration(base: type, name: str) -> str:
    """`load(self, split)`: how a method of the base is declared, without types."""
    method = getattr(base, name, None)
    if not isinstance(method, FunctionType):
        return name
    signature = inspect.signature(method)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return f"{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"


def _methods(base: type) -> list[str]:
    """The names of what the harness calls."""
    return [
        name
        for cls in base.__mro__
        for name, item in vars(cls).items()
        if isinstance(item, FunctionType) and not name.startswith("_") and _is_ours(cls)
    ]


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "bioplaus"


def _misfit(cls: type, base: type, name: str) -> str | None:
    """What is wrong with a method that cannot be called as the base's is."""
    if inspect.getattr_static(cls, name) is inspect.getattr_static(base, name):
        return None
    own = getattr(cls, name)
    if isinstance(own, property):
        return None
    if not callable(own):
        return f"`{name}` is {own!r:.60}, due is a method: {declaration(base, name)}"
    bound = not isinstance(inspect.getattr_static(cls, name), FunctionType)
    asked = list(inspect.signature(getattr(base, name)).parameters)[1 if bound else 0 :]
    try:
        signature = inspect.signature(own)
        signature.bind(*asked)
    except TypeError:
        return f"it has {name}{signature}, due is {declaration(base, name)}"
    except ValueError:  # of no Python function
        return None
    return None
