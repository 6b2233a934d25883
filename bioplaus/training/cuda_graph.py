"""A step on a GPU as one CUDA graph: captured once, replayed with a single launch.

Without it, the host spends longer on launching a small network's kernels than the device
on running them. What is captured works on tensors that stay where they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

WARM_UP = 3
"""Calls before the capture, in which libraries choose their kernels: steps like the others."""


def replays(device: torch.device) -> bool:
    """Whether what runs there can be captured: all that it works on then stays where it is."""
    return device.type == "cuda"


class Captured:
    """A function of fixed tensors, in place, that runs as it is at first and is then captured.

    Every call does what the function does, once. `why` says why it is not captured, if so.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function = function
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        here = torch.cuda.current_device() if device.index is None else device.index
        self._side = _side_stream(here)
        self.why = ""

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        if self._calls < WARM_UP or self.why:
            self._calls += 1
            self._warm_up()
            return
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            # recorded, not run
            with torch.cuda.graph(graph, stream=self._side):
                self._function()
        except RuntimeError as error:
            self.why = f"it cannot be captured ({first_cause(error)})"
            torch.cuda.synchronize()
            self._warm_up()
            return
        self._graph = graph
        graph.replay()

    def _warm_up(self) -> None:
        """Beside the main stream, as a capture needs what comes before it to be."""
        main = torch.cuda.current_stream()
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            self._function()
        main.wait_stream(self._side)


@functools.cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """Where all that is captured on a device is warmed up and captured, one after the other.

    One for all of a process, which trains in one thread: cuBLAS keeps a workspace for each
    stream that it ever worked on, 32 MiB on Hopper.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def first_cause(error: BaseException) -> str:
    """What went wrong first: ending a capture that failed raises once more, in other words."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0][:200]
