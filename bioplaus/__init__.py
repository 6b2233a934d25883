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
    try:
        return _load(name)
    except AttributeError:
        if name in __all__:  # it is there, and what it imports is not as it should be
            raise
        raise AttributeError(f"bioplaus has no {name!r}{_meant(name)}", name=name) from None


def _meant(name: str) -> str:
    """What is called so elsewhere, or nearly so here."""
    from bioplaus.errors import near_to

    synonyms = {"train": "run", "fit": "run", "Trainer": "Learner", "tune_rule": "tune"}
    near = [synonyms[name]] if name in synonyms else near_to(name, __all__)
    words = " or ".join(f"bioplaus.{one}" for one in near)
    return f"; did you mean {words}?" if words else "; dir(bioplaus) names what there is"
