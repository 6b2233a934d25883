"""An accelerator as the CPU can play it: operators that may not look, products that round, and
steps that are captured once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bioplaus.numerics import refinement
from bioplaus.training import cuda_graph, stepper
from bioplaus.training.operation_count import Saving

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
"""What a test that means the same everywhere takes as its parameter."""

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
}


class RoundedProducts(TorchDispatchMode):
    """Products whose factors are rounded to TF32's 10 bits, as tensor cores round them.

    An operator of ours is one call here, and what it does inside is not rounded.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in PRODUCTS:
            args = (*args[:-2], *(rounded(factor) for factor in args[-2:]))
        return func(*args, **(kwargs or {}))


def rounded(tensor: Tensor) -> Tensor:
    """float32 with 10 bits of mantissa, to the nearest."""
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def play_accelerator(monkeypatch: pytest.MonkeyPatch, precision: str = "fp32") -> None:
    """From now on no operator looks; in tf32 the code takes products to round (see above)."""
    monkeypatch.setattr(refinement, "operator_looks", lambda matrix: False)
    rounds = precision == "tf32"
    monkeypatch.setattr(refinement, "products_round", lambda m: rounds and m.dtype == torch.float32)


aten = torch.ops.aten
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Of operations whose result, or its size, hangs on numbers."""


class Recording(TorchDispatchMode):
    """Every operation with the tensors it worked on, as a CUDA graph holds their addresses.

    RuntimeError where the host would wait for a number, which no capture allows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], Mapping[str, Any], list[Any]]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if _waits(func, args):
            raise RuntimeError(f"{func} is not permitted when stream is capturing")
        returned = func(*args, **given)
        if not _moves_nothing(func):
            # views of them, since `squeeze_` and the like may yet change the shape of these
            places = [t.detach() if isinstance(t, Tensor) else t for t in tree_leaves(returned)]
            self._calls.append((func, args, given, places))
        return returned

    def replay(self) -> None:
        """The same operations on the same tensors; no line of Python that was between them."""
        for func, args, kwargs, places in self._calls:
            again = tree_leaves(func(*args, **kwargs))
            for place, tensor in zip(places, again, strict=True):
                if isinstance(place, Tensor) and place.data_ptr() != tensor.data_ptr():
                    _unrepeated(place).copy_(_unrepeated(tensor))


def _unrepeated(tensor: Tensor) -> Tensor:
    """Each place in memory once."""
    for axis, stride in enumerate(tensor.stride()):
        if not stride:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _waits(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the host must know a result to go on: a number, a size, or that nothing failed."""
    if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return bool(WAITING & set(func.tags)) or func is aten._linalg_check_errors.default


def _moves_nothing(func: Any) -> bool:
    """Whether it makes another view of memory, and no more."""
    returns = func._schema.returns
    views = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    return views or torch.Tag.inplace_view in func.tags


class Replayed:
    """What `cuda_graph.Captured` is on a GPU."""

    captured = 0
    """How many functions were, since `play_replays`."""

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function = function
        self._calls = 0
        self._recording: Recording | None = None
        self.why = ""

    @property
    def is_captured(self) -> bool:
        return self._recording is not None

    def __call__(self) -> None:
        self._calls += 1
        if self._recording is not None:
            self._recording.replay()
        elif self._calls <= cuda_graph.WARM_UP:
            self._function()
        else:
            with Recording() as self._recording:
                self._function()
            Replayed.captured += 1


def play_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on steps, evaluations and probes are captured at their fourth call and replayed;
    as on a GPU, `auto` compiles nothing.
    """
    monkeypatch.setattr(cuda_graph, "replays", lambda device: True)
    monkeypatch.setattr(stepper, "dispatch_saving", lambda graph: Saving(0.0, 1.0))
    monkeypatch.setattr(stepper, "is_kept", lambda graph, tensors: False)
    monkeypatch.setattr(cuda_graph, "Captured", Replayed)
    monkeypatch.setattr(Replayed, "captured", 0)
