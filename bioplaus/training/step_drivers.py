"""How one step after the other is taken: as they come, or in place, so that a GPU replays them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bioplaus.learning.rule import Resting
from bioplaus.tasks.dataset import Split
from bioplaus.training import cuda_graph
from bioplaus.training.replicas import Replicas
from bioplaus.training.traced_step import Program


class Driver(ABC):
    """Takes the replicas a step further."""

    def __init__(self, replicas: Replicas, examples: Split) -> None:
        """examples: with float targets, (N, C)."""
        self._replicas, self._examples = replicas, examples
        self._number = torch.zeros((), dtype=torch.int64, device=examples.x.device)

    @abstractmethod
    def step(
        self, program: Program, index: Tensor, number: int, sums: Tensor | None, resting: Resting
    ) -> Tensor:
        """One step; the sums (M, R) of the metrics so far, with this step's.

        index: each replica's examples, (R, batch size). number: of the step, from 0. resting:
        what does not learn in it.
        """

    @property
    def not_captured(self) -> list[str]:
        """Why steps are not replayed as CUDA graphs, where they should be."""
        return []

    def _advance(self, program: Program, index: Tensor, resting: Resting) -> Tensor:
        """The step's metrics (M, R)."""
        returned = iter(
            program(
                *self._replicas.given(), index, self._number, self._examples.x, self._examples.y
            )
        )
        self._replicas.take(returned, resting)
        return next(returned)


class Direct(Driver):
    """Each step as it comes."""

    def step(
        self, program: Program, index: Tensor, number: int, sums: Tensor | None, resting: Resting
    ) -> Tensor:
        self._number.fill_(number)
        metrics = self._advance(program, index, resting)
        return metrics if sums is None else sums + metrics


class InPlace(Driver):
    """All that a step reads and writes stays where it is, so that it can be captured."""

    def __init__(self, replicas: Replicas, examples: Split, capture: bool = True) -> None:
        super().__init__(replicas, examples)
        self._capture = capture
        self._captured: dict[tuple[Program, Resting], cuda_graph.Captured] = {}
        self._index: Tensor | None = None
        self._sums: Tensor | None = None

    def step(
        self, program: Program, index: Tensor, number: int, sums: Tensor | None, resting: Resting
    ) -> Tensor:
        self._number.fill_(number)
        if self._index is None:
            self._index = torch.empty_like(index, memory_format=torch.contiguous_format)
        self._index.copy_(index)
        self._hold(sums)
        self._call(program, resting)
        assert self._sums is not None
        return self._sums

    @property
    def not_captured(self) -> list[str]:
        return [captured.why for captured in self._captured.values() if captured.why]

    def _hold(self, sums: Tensor | None) -> None:
        """The sums so far, where the step adds to them."""
        if self._sums is None:
            self._sums = None if sums is None else sums.clone()  # of before a resume
        elif sums is None:
            self._sums.zero_()

    def _call(self, program: Program, resting: Resting) -> None:
        if not (self._capture and program.lasting):
            self._advance_in_place(program, resting)
            return
        key = program, resting
        if key not in self._captured:
            device = self._examples.x.device
            self._captured[key] = cuda_graph.Captured(
                lambda: self._advance_in_place(program, resting), device
            )
        self._captured[key]()

    def _advance_in_place(self, program: Program, resting: Resting) -> None:
        assert self._index is not None
        metrics = self._advance(program, self._index, resting)
        if self._sums is None:  # in the first step, which is not captured
            self._sums = torch.zeros_like(metrics)
        self._sums.add_(metrics)
