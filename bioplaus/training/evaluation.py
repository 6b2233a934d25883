"""What is measured after every epoch: answers, and how updates compare with gradients.

Both are programs, as a step is: traced once, compiled where that repays itself, and on a
GPU replayed as CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bioplaus.learning.alignment import AlignmentProbe
from bioplaus.learning.batching import Rule
from bioplaus.learning.prediction import PredictionNoise, batched_predict, positions
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.training import cuda_graph
from bioplaus.training.lesson import Exam, Lesson
from bioplaus.training.traced_step import Function, Program, Traceable

_ELEMENTS = 2**24
"""Activities of one layer held at once in an evaluation, over all replicas."""
_DRAWN = 16
"""Of them, what drawing one random number takes for the time."""


NewProgram = Callable[[Function], Program]
"""Makes a program of a function, which knows when to compile it."""


class Examination:
    """How each replica's answers are judged on splits that stay the same."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        lesson: Lesson,
        exams: Mapping[str, Exam],
        seeds: Sequence[int],
        program: NewProgram,
        capture: bool,
    ) -> None:
        """exams: of at least one split. capture: replay CUDA graphs on such a device."""
        self._net, self._lesson = net, lesson
        self._sizes = {name: len(exam.x) for name, exam in exams.items()}
        x = next(iter(exams.values())).x
        self._seen = lesson.seen(seeds, x)
        self._predict = batched_predict(rule, net, shared=self._seen is None)
        self._program, self._capture = program, capture
        shapes = (net.in_shape, *(layer.out_shape for layer in net.layers))
        self._noise = PredictionNoise(rule, net, seeds, x.dtype, x.device)
        units = max(torch.Size(shape).numel() for shape in shapes)
        chunk = max(1, _ELEMENTS // (len(seeds) * (units + _DRAWN * self._noise.numbers)))
        columns = zip(*(self._columns(name, exam) for name, exam in exams.items()), strict=True)
        split = [torch.split(torch.cat(column), chunk) for column in columns]
        self._chunks = list(zip(*split, strict=True))
        self._programs: dict[int, Program] = {}
        self._replayed: dict[int, Replayed] = {}

    def _columns(self, split: str, exam: Exam) -> list[Tensor]:
        """What is asked of each example, and where noise is drawn, its position."""
        at = [positions(len(exam.x), exam.x.device, split)] if self._noise.numbers else []
        return [exam.x, *exam.given, *at]

    def __call__(self, params: Params, state: State) -> dict[str, Tensor]:
        """ "test_accuracy" and the like, (R,) each, on the parameters' device."""
        parts = [self._judged(params, state, chunk) for chunk in self._chunks]
        names = next(iter(self._programs.values())).names
        judged = {
            n: torch.cat(p, dim=1) for n, p in zip(names, zip(*parts, strict=True), strict=True)
        }
        sizes = list(self._sizes.values())
        found = {}
        for i, (split, size) in enumerate(self._sizes.items()):
            sums = {n: torch.split(j, sizes, dim=1)[i].sum(1) for n, j in judged.items()}
            for name, mark in self._lesson.marks(sums, size).items():
                found[f"{split}_{name}"] = mark
        return found

    def _judged(self, params: Params, state: State, chunk: Sequence[Tensor]) -> list[Tensor]:
        """Numbers of each replica's answers, (R, N) each."""
        x, *_ = chunk
        if len(x) not in self._replayed:
            program = self._program(self._function([list(part) for part in (params, *state)]))
            self._programs[len(x)] = program
            self._replayed[len(x)] = Replayed(program, x.device, self._capture)
        return [t.clone() for t in self._replayed[len(x)](given(params, state), chunk)]

    def _function(self, names: Sequence[Sequence[str]]) -> Function:
        def function(*tensors: Tensor) -> Traceable:
            (params, aux, memory), (x, *asked) = taken(tensors, names)
            noise = self._noise.each(asked.pop()) if self._noise.numbers else {}
            if self._seen is not None:
                x = self._seen(x, asked)
            output = self._predict(params, State(aux, memory), x, noise)
            judged = self._lesson.judge(self._net, output, asked)
            return list(judged.values()), tuple(judged)

        return function


class ProbeProgram:
    """An `AlignmentProbe` that is traced at its first measurement."""

    def __init__(
        self,
        probe: AlignmentProbe,
        names: Sequence[Sequence[str]],
        program: NewProgram,
        device: torch.device,
        capture: bool,
    ) -> None:
        """names: of parameters, auxiliary parameters and memory."""
        self._probe, self._names_given = probe, names
        self._program = program(self._function)
        self._replayed = Replayed(self._program, device, capture)

    def __call__(self, params: Params, state: State) -> dict[str, dict[str, list[float]]]:
        """reference -> "cosine.1", ... -> each replica's; here the host waits for the device."""
        (numbers,) = self._replayed(given(params, state), [])
        found: dict[str, dict[str, list[float]]] = {}
        for name, values in zip(self._program.names, numbers.tolist(), strict=True):
            reference, _, short = name.partition("/")
            found.setdefault(reference, {})[short] = values
        return found

    def _function(self, *tensors: Tensor) -> Traceable:
        (params, aux, memory), _ = taken(tensors, self._names_given)
        measured = self._probe.measure(params, State(aux, memory))
        flat = {
            f"{reference}/{name}": numbers
            for reference, found in measured.items()
            for name, numbers in found.items()
        }
        return [torch.stack(list(flat.values()))], tuple(flat)


class Replayed:
    """A program whose first tensors are always the same ones, so that a GPU can replay it."""

    def __init__(self, program: Program, device: torch.device, capture: bool) -> None:
        self._program = program
        captured = capture and cuda_graph.replays(device)
        self._captured = cuda_graph.Captured(self._run, device) if captured else None
        self._fixed: Sequence[Tensor] = ()
        self._moving: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def __call__(self, fixed: Sequence[Tensor], moving: Sequence[Tensor]) -> Sequence[Tensor]:
        """The program's outputs, which the next call overwrites. moving: copied to their place."""
        if self._captured is None:
            return self._program(*fixed, *moving)
        self._fixed = fixed
        if not self._moving:
            self._moving = [tensor.clone() for tensor in moving]
        for place, tensor in zip(self._moving, moving, strict=True):
            place.copy_(tensor)
        self._captured()
        return self._outputs

    def _run(self) -> None:
        outputs = self._program(*self._fixed, *self._moving)
        if not self._outputs:  # in the first call, which is not captured
            self._outputs = [output.clone() for output in outputs]
        for place, output in zip(self._outputs, outputs, strict=True):
            place.copy_(output)


def given(params: Params, state: State) -> list[Tensor]:
    """As one list, in order."""
    return [*params.values(), *state.aux.values(), *state.memory.values()]


def taken(
    tensors: Sequence[Tensor], names: Sequence[Sequence[str]]
) -> tuple[list[Params], list[Tensor]]:
    """The first tensors as dicts with these names, and the rest."""
    rest = iter(tensors)
    return [{name: next(rest) for name in part} for part in names], list(rest)
