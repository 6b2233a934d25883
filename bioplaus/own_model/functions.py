"""Functions and methods of torch that have a place in a traced model, and what each makes.

Each handler gets the reader and the arguments of the call, where a tensor of the graph is a
`Value`. It returns the `Value` that it made, or what else the call stands for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, LeakyRelu, Relu, Sigmoid, Tanh
from bioplaus.network.combining import Slice, added, joined, multiplied
from bioplaus.network.layer import Layer, Shape
from bioplaus.own_model.reader import Reader


@dataclass(frozen=True)
class Value:
    """One of the reader's values."""

    number: int


class _Batch:
    """The number of examples, which rules do not know."""


BATCH = _Batch()


@dataclass(frozen=True)
class _Pieces:
    """Parts of a value along its first axis, from and to."""

    of: Value
    bounds: tuple[tuple[int, int], ...]


Handler = Callable[..., object]

_LOGITS = 'leave it out: loss="cross_entropy" takes the outputs before it (logits)'
_HINTS: dict[Any, str] = {
    F.dropout: "an nn.Dropout module has masks that a rule is given",
    **dict.fromkeys((torch.softmax, torch.log_softmax, F.softmax, F.log_softmax), _LOGITS),
    **dict.fromkeys(("softmax", "log_softmax"), _LOGITS),
}


def why_unknown(target: object) -> str:
    """What to do about a function or method that has no place."""
    known = "+, *, torch.cat, flatten, slices and chunks, pooling, relu, tanh, sigmoid, and modules"
    return f"no learning rule knows it; {_HINTS.get(target, f'there are {known}')}"


def name_of(target: object) -> str:
    """A function, method or module as a model's author wrote it."""
    if isinstance(target, str):
        return target
    name = getattr(target, "__name__", type(target).__name__)
    module = getattr(target, "__module__", None) or ""
    return f"torch.{name}" if hasattr(torch, name) and "functional" not in module else name


def asks_size(node: fx.Node) -> bool:
    """Whether a node reads a shape and no numbers."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    return node.target is getattr


def _combined(
    reader: Reader, values: Sequence[object], make: Callable[[list[Shape]], Layer], verb: str
) -> Value:
    if not all(isinstance(v, Value) for v in values):
        raise ConfigError(f"it {verb} something that is no tensor of the graph")
    numbers = tuple(v.number for v in values if isinstance(v, Value))
    layer = make([reader.shapes[number] for number in numbers])
    reader.append(layer, numbers, open_for_activation=True)
    return Value(reader.at)


def _add(reader: Reader, a: object, b: object) -> Value:
    return _combined(reader, (a, b), added, "adds")


def _multiply(reader: Reader, a: object, b: object) -> Value:
    return _combined(reader, (a, b), multiplied, "multiplies")


def _concatenate(reader: Reader, tensors: Sequence[object], dim: int = 0) -> Value:
    axes = [len(reader.shapes[v.number]) for v in tensors if isinstance(v, Value)]
    if dim != 1 and dim != -max(axes, default=0):
        raise ConfigError(f"dim={dim}: values stand side by side on axis 1, units or channels")
    return _combined(reader, tensors, joined, "joins")


def _activation(activation: Activation) -> Handler:
    def handler(reader: Reader, a: object, inplace: bool = False) -> Value:
        _go_to(reader, a)
        reader.activate(activation)
        return Value(reader.at)

    return handler


def _leaky(reader: Reader, a: object, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    _go_to(reader, a)
    reader.activate(LeakyRelu(negative_slope))
    return Value(reader.at)


def _as_module(kind: type[nn.Module]) -> Handler:
    """A function with the arguments of a module behind its input."""

    def handler(reader: Reader, a: object, *args: Any, **kwargs: Any) -> Value:
        _go_to(reader, a)
        try:
            module = kind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"its arguments are not {kind.__name__}'s: {error}") from None
        reader.layer(kind, module)
        return Value(reader.at)

    return handler


def _flatten(reader: Reader, a: object, start_dim: int = 0, end_dim: int = -1) -> Value:
    return _flattened(reader, a, nn.Flatten(start_dim, end_dim))


def _flattened(reader: Reader, a: object, module: nn.Flatten | None = None) -> Value:
    _go_to(reader, a)
    if len(reader.shape) > 1 or (module is not None and module.start_dim != 1):
        reader.layer(nn.Flatten, module or nn.Flatten())
    return Value(reader.at)


def _view(reader: Reader, a: object, *sizes: Any) -> Value:
    _go_to(reader, a)
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = tuple(sizes[0])
    units = prod(reader.shape)
    if len(sizes) != 2 or sizes not in ((BATCH, -1), (BATCH, units), (-1, units)):
        raise ConfigError("of its sizes, rules know those of a flatten alone: (x.size(0), -1)")
    return _flattened(reader, a)


def _size(reader: Reader, a: object, dim: int | None = None) -> object:
    _go_to(reader, a)
    shape = (BATCH, *reader.shape)
    return shape if dim is None else shape[dim]


def _attribute(reader: Reader, a: object, name: str) -> object:
    if name != "shape":
        raise ConfigError(f"it reads .{name}, and rules know .shape alone")
    return _size(reader, a)


def _item(reader: Reader, a: object, index: Any) -> object:
    if isinstance(a, _Pieces):
        return _sliced(reader, a.of, *a.bounds[index])
    if isinstance(a, tuple):
        return a[index]
    value = _go_to(reader, a)
    every = slice(None)
    if not isinstance(index, tuple) or len(index) < 2 or index[0] != every:
        raise ConfigError("it takes examples apart: slices are of axis 1, as in x[:, :8]")
    part, *others = index[1:]
    if not isinstance(part, slice) or part.step not in (None, 1) or any(o != every for o in others):
        raise ConfigError("slices are of neighbours on axis 1, as in x[:, :8]")
    start, stop, _ = part.indices(reader.shape[0])
    return _sliced(reader, value, start, stop)


def _sliced(reader: Reader, value: Value, start: int, stop: int) -> Value:
    reader.append(
        Slice(reader.shapes[value.number], start, stop), (value.number,), open_for_activation=True
    )
    return Value(reader.at)


def _chunk(reader: Reader, a: object, chunks: int, dim: int = 0) -> _Pieces:
    value = _go_to(reader, a)
    return _pieces(reader, value, -(-reader.shape[0] // chunks), dim)


def _split(reader: Reader, a: object, size: Any, dim: int = 0) -> _Pieces:
    return _pieces(reader, _go_to(reader, a), size, dim)


def _pieces(reader: Reader, value: Value, size: Any, dim: int) -> _Pieces:
    shape = reader.shapes[value.number]
    if dim != 1 and dim != -len(shape):
        raise ConfigError(f"dim={dim}: values are taken apart on axis 1, units or channels")
    units = shape[0]
    if isinstance(size, int):
        ends = [*range(size, units, size), units]
    else:
        ends = [sum(size[: k + 1]) for k in range(len(size))]
    return _Pieces(value, tuple(zip([0, *ends], ends, strict=False)))


def _mean(reader: Reader, a: object, dim: Any = None, keepdim: bool = False) -> Value:
    """Over all places of an image, as a pooling."""
    _go_to(reader, a)
    axes = {d % 4 for d in dim} if isinstance(dim, tuple | list) else set()
    if len(reader.shape) != 3 or axes != {2, 3}:
        raise ConfigError("means are of images, over height and width: x.mean((2, 3))")
    reader.layer(nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool2d(1))
    if not keepdim:
        reader.layer(nn.Flatten, nn.Flatten())
    return Value(reader.at)


def _same(reader: Reader, a: object) -> object:
    return a


def _go_to(reader: Reader, found: object) -> Value:
    if not isinstance(found, Value):
        raise ConfigError("its input is no tensor of the graph")
    reader.at = found.number
    return found


_ACTIVATIONS: dict[str, Activation] = {"relu": Relu(), "tanh": Tanh(), "sigmoid": Sigmoid()}

METHODS: dict[str, Handler] = {
    "add": _add,
    "add_": _add,
    "mul": _multiply,
    "mul_": _multiply,
    "flatten": _flatten,
    "view": _view,
    "reshape": _view,
    "size": _size,
    "chunk": _chunk,
    "split": _split,
    "mean": _mean,
    "contiguous": _same,
    **{name: _activation(kind) for name, kind in _ACTIVATIONS.items()},
    **{f"{name}_": _activation(kind) for name, kind in _ACTIVATIONS.items()},
}
FUNCTIONS: dict[Any, Handler] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add), _add),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, torch.multiply), _multiply),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concatenate),
    torch.flatten: _flatten,
    torch.reshape: _view,
    torch.chunk: _chunk,
    torch.split: _split,
    torch.mean: _mean,
    operator.getitem: _item,
    getattr: _attribute,
    F.leaky_relu: _leaky,
    F.max_pool2d: _as_module(nn.MaxPool2d),
    F.avg_pool2d: _as_module(nn.AvgPool2d),
    F.adaptive_avg_pool2d: _as_module(nn.AdaptiveAvgPool2d),
    **{
        function: _activation(kind)
        for name, kind in _ACTIVATIONS.items()
        for module in (torch, F)
        for suffix in ("", "_")
        if (function := getattr(module, name + suffix, None)) is not None
    },
}
