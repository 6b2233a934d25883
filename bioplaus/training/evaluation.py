"""What is measured after every epoch: right answers, and how updates compare with gradients.

Both are programs, as a step is: traced once, compiled where that repays itself, and on a
GPU replayed as CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bioplaus.learning.alignment import AlignmentProbe
from bioplaus.learning.batching import Rule, batched_predict
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.dataset import Split
from bioplaus.training.cuda_graph import Captured
from bioplaus.training.traced_step import Function, Program, Traceable

_ELEMENTS = 2**24
"""Activities of one layer held at once in an evaluation, over all replicas."""


NewProgram = Callable[[Function], Program]
"""Makes a program of a function, which knows when to compile it."""


class Accuracies:
    """Each replica's share of right answers on splits that stay the same."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        splits: Sequence[Split],
        replicas: int,
        program: NewProgram,
        capture: bool,
    ) -> None:
        """splits: at least one. capture: replay CUDA graphs where there is such a device."""
        self._net, self._sizes = net, [len(split) for split in splits]
        self._predict = batched_predict(rule, net)
        self._program, self._capture = program, capture
        shapes = (net.in_shape, *(layer.out_shape for layer in net.layers))
        units = max(torch.Size(shape).numel() for shape in shapes)
        chunk = max(1, _ELEMENTS // (replicas * units))
        x, y = torch.cat([split.x for split in splits]), torch.cat([split.y for split in splits])
        self._chunks = list(zip(torch.split(x, chunk), torch.split(y, chunk), strict=True))
        self._replayed: dict[int, Replayed] = {}

    def __call__(self, params: Params, state: State) -> Tensor:
        """(splits, R), on the parameters' device."""
        right = torch.cat([self._right(params, state, x, y) for x, y in self._chunks], dim=1)
        counts = torch.stack([part.sum(1) for part in torch.split(right, self._sizes, dim=1)])
        return counts.double() / torch.tensor(self._sizes, device=counts.device)[:, None]

    def _right(self, params: Params, state: State, x: Tensor, y: Tensor) -> Tensor:
        """Whether each replica's answer is right, (R, N)."""
        if len(x) not in self._replayed:
            program = self._program(self._function([list(part) for part in (params, *state)]))
            self._replayed[len(x)] = Replayed(program, x.device, self._capture)
        return self._replayed[len(x)](given(params, state), [x, y])[0].clone()

    def _function(self, names: Sequence[Sequence[str]]) -> Function:
        def function(*tensors: Tensor) -> Traceable:
            (params, aux, memory), (x, y) = taken(tensors, names)
            output = self._predict(params, State(aux, memory), x)
            return [output[..., : self._net.classes].argmax(-1) == y], ()

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

    def __call__(self, params: Params, state: State) -> tuple[tuple[str, ...], Tensor]:
        """Names, "loss/cosine.1" say, and the numbers (names, R)."""
        (numbers,) = self._replayed(given(params, state), [])
        return self._program.names, numbers

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
        self._captured = Captured(self._run, device) if capture and device.type == "cuda" else None
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
