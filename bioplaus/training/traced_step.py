"""Steps as programs: traced once for the shapes at hand, then replayed, or compiled.

A vmapped rule spends more time in the dispatch of its operations than in their arithmetic
where networks are small. `record` writes down what the operations come to; replaying that
changes no bit. Compiling it (inductor) fuses them, changes the last bits, takes
many seconds and needs a C++ compiler (`compiled_graph`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from torch import Tensor
from torch.fx import GraphModule

from bioplaus.errors import BioplausError
from bioplaus.training.compiled_graph import compile_graph
from bioplaus.training.recording import record
from bioplaus.training.simplification import simplified

Traceable = tuple[list[Tensor], tuple[str, ...]]
Function = Callable[..., Traceable]
"""From tensors to tensors, and to names, which depend on the tensors' shapes alone."""

Worth = Callable[[GraphModule, Sequence[Tensor]], bool]

How = Literal["eager", "traced", "compiled"]


class Program:
    """A pure function of tensors, always called with tensors of the same shapes.

    `how` says what became of it at the first call; `why` says why not what was asked for.
    """

    lasting: ClassVar[bool] = True
    """Whether it is the same at every call, so that a call can be recorded and replayed."""

    def __init__(self, function: Function, compiled: Worth) -> None:
        """compiled: whether to compile this graph for these tensors."""
        self._function = function
        self._run: Callable[..., Sequence[Tensor]] = self._first
        self._to_compile = compiled
        self.how: How = "eager"
        self.why = ""
        self.names: tuple[str, ...] = ()
        """What the function returns beside tensors, after the first call."""
        self.written: GraphModule | None = None
        """The operations that the function comes to."""
        self.graph: GraphModule | None = None
        """Those that run: nothing twice."""
        self.calls = 0
        self.setup_seconds = 0.0
        """What tracing and compiling took."""

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        self.calls += 1
        return self._run(*tensors)

    def _first(self, *tensors: Tensor) -> Sequence[Tensor]:
        self._run = self._as_it_is
        start = time.perf_counter()
        try:
            self.written, self.names = trace(self._function, tensors)
            self.graph = simplified(self.written)
        except BioplausError:
            raise
        except Exception as error:  # torch may raise anything on what it cannot trace
            self.why = f"it cannot be traced ({_line(error)})"
            return self._as_it_is(*tensors)  # what the rule itself does wrong is raised here
        self._run, self.how = self.graph, "traced"
        self.setup_seconds = time.perf_counter() - start
        if self._to_compile(self.graph, tensors):
            try:
                compiled = compile_graph(self.graph, tensors)
                outputs = compiled(*tensors)
            except Exception as error:  # no compiler, or one too old: no reason to stop
                self.why = f"it cannot be compiled ({_line(error)})"
            else:
                self._run, self.how = compiled, "compiled"
                self.setup_seconds = time.perf_counter() - start
                return outputs
        run: Callable[..., Sequence[Tensor]] = self._run
        return run(*tensors)

    def _as_it_is(self, *tensors: Tensor) -> Sequence[Tensor]:
        outputs, self.names = self._function(*tensors)
        return outputs


class Untraced(Program):
    """Runs one function after the other as they are, and keeps none of them."""

    lasting = False

    def __init__(self, why: str) -> None:
        super().__init__(lambda: ([], ()), lambda graph, tensors: False)
        self._run = self._as_it_is
        self.why = why

    def of(self, function: Function) -> Untraced:
        """Itself, to run that function next."""
        self._function = function
        return self


def trace(function: Function, tensors: Sequence[Tensor]) -> tuple[GraphModule, tuple[str, ...]]:
    """The operations that the function comes to on tensors of these shapes, and its names."""
    found: list[tuple[str, ...]] = []

    def outputs(*given: Tensor) -> list[Tensor]:
        computed, names = function(*given)
        found.append(names)
        return computed

    return record(outputs, tensors), found[-1]


def _line(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:200]
