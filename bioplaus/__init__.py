"""bioplaus: a benchmark suite for biologically plausible learning rules.

Each public name loads on first use, so that `import bioplaus` stays light; which there are, and
where each lives, is in `__init__.pyi` beside this file.
"""

from importlib import import_module
from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("bioplaus")
    return _load(name)
