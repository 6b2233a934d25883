"""An executor plugin as the driver uses it: what is wrong with one is told in its name."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from bioplaus.benchmark.executor import Executor, Setup
from bioplaus.benchmark.jobs import Job
from bioplaus.errors import PluginError, shown
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.system.blame import blaming
from bioplaus.training.progress import Progress

R = TypeVar("R")


def open_executor(name: str, setup: Setup) -> Executor:
    """The executor of that name, opened as the user asks for it.

    UnknownNameError; PluginError where it does not load or is none; ConfigError for what it
    cannot do.
    """
    plugin = registry.find("executor", name)
    cls: Any = plugin.load()
    if wrong := fault(cls, Executor, "bioplaus.benchmark.executor.Executor"):
        raise PluginError(f"{plugin.title}: {wrong}")
    with blaming(f"{plugin.title}: `open` failed", cls):
        opened: Any = cls.open(setup)
    if not isinstance(opened, Executor):
        raise PluginError(
            f"{plugin.title}: `open` returned {_in_words(opened)}, due is an Executor: cls(slots)"
        )
    slots, device = getattr(opened, "slots", None), getattr(opened, "device", None)
    if type(slots) is not int or slots < 1 or not isinstance(device, str):
        raise PluginError(
            f"{plugin.title}: its `slots` are {shown(repr(slots), 60)} and its `device` "
            f"{shown(repr(device), 60)}, due are a whole number from 1 and a text such as 'cpu': "
            "call super().__init__(slots, device)"
        )
    return _Watched(opened, plugin.title)


class _Watched(Executor):
    """Does what a plugin's executor does, and blames it for what it raises."""

    def __init__(self, inner: Executor, title: str) -> None:
        super().__init__(inner.slots, inner.device)
        self._inner, self._title = inner, title
        self.name = type(inner).name  # type: ignore[misc]

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        with blaming(f"{self._title}: `submit` failed", self._inner):
            future: Any = self._inner.submit(job, watch)
        if not isinstance(future, Future):
            raise PluginError(
                f"{self._title}: `submit` returned {_in_words(future)}, due is a "
                "concurrent.futures.Future of what the job gives"
            )
        return future

    def close(self) -> None:
        with blaming(f"{self._title}: `close` failed", self._inner):
            self._inner.close()


def _in_words(value: object) -> str:
    return "None (is a `return` missing?)" if value is None else f"a {type(value).__name__}"
