"""Records what operations a function comes to, as a graph that replays them.

torch's `make_fx` does the same and more (shapes as symbols, decompositions), and for that runs each
operation on imitations of its tensors too: five to ten times as long, and seconds to load. Here all
shapes are known and the tensors are real, so one pass through the dispatcher is enough.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

RESULT = "val"
"""Key of a node's `meta`: its result without its numbers, a tensor or several on torch's `meta`
device."""
SHARES = "shares"
"""Key of a node's `meta`, where its result lies in an argument's memory."""


def record(function: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor]) -> GraphModule:
    """The operations of `function(*tensors)`, below vmap, for tensors of these shapes.

    Raises RuntimeError where the function takes a number by `item`, `bool` or `equal` from a tensor
    that hangs on its arguments, or makes one whose size does: what it does then would be the same
    at each replay. No two of the tensors may be the same object.
    """
    recorder = Recorder(tensors)
    with recorder:
        results = function(*tensors)
    graph = recorder.graph
    graph.output([recorder.node(tensor) for tensor in results])
    graph.eliminate_dead_code()
    return GraphModule(recorder.constants, graph)


class Recorder(TorchDispatchMode):
    """A graph that grows by every operation that torch dispatches meanwhile."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's compiler has nothing to pass over here, and is not loaded for it."""
        return False

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.constants = torch.nn.Module()
        """Tensors that are neither arguments nor results of an operation."""
        self._nodes: MutableMapping[Tensor, Node] = WeakTensorKeyDictionary()
        self._varying: set[Node] = set()
        """What hangs on the arguments, or on chance."""
        for i, tensor in enumerate(tensors):
            node = self.graph.placeholder(f"given_{i}")
            self._varying.add(node)
            self._note(tensor, node)

    def node(self, tensor: Tensor) -> Node:
        """What makes that tensor; a constant where nothing here has."""
        found = self._nodes.get(tensor)
        if found is None:
            name = f"constant_{len(self.constants._buffers)}"
            self.constants.register_buffer(name, tensor)
            found = self.graph.get_attr(name)
            self._note(tensor, found)
        return found

    def _note(self, tensor: Tensor, node: Node) -> None:
        self._nodes[tensor] = node
        node.meta[RESULT] = without_numbers(tensor)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The operation, done and written down."""
        kwargs = kwargs or {}
        if _composite(func, args):
            with self:
                return func.decompose(*args, **kwargs)
        if func is torch.ops.aten.lift_fresh.default:
            # so that an operation in place does not change the constant
            func = torch.ops.aten.lift_fresh_copy.default
        given = [self.node(tensor) for tensor in _tensors((args, kwargs))]
        varies = any(node in self._varying for node in given)
        if varies and _sized_by_numbers(func, args):
            raise RuntimeError(f"{func} gives a tensor whose size hangs on numbers")
        if torch.Tag.data_dependent_output in func.tags:
            if varies:
                raise RuntimeError(f"{func} takes a number out of a tensor")
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        varies = varies or torch.Tag.nondeterministic_seeded in func.tags
        node = self.graph.call_function(func, self._written(args), self._written(kwargs))
        if _places(result) & _places((args, kwargs)):
            node.meta[SHARES] = True
        self._results(result, node, varies)
        return result

    def _written(self, value: Any) -> Any:
        """Arguments as they stand in the graph."""
        if isinstance(value, Tensor):
            return self.node(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._written(part) for part in value)
        if isinstance(value, dict):
            return {name: self._written(part) for name, part in value.items()}
        return value

    def _results(self, result: Any, node: Node, varies: bool) -> None:
        if varies:
            self._varying.add(node)
        if isinstance(result, Tensor):
            self._note(result, node)
        elif isinstance(result, (list, tuple)):
            node.meta[RESULT] = tuple(map(without_numbers, result))
            for i, part in enumerate(result):
                self._results(part, self.graph.call_function(operator.getitem, (node, i)), varies)


def without_numbers(value: Any) -> Any:
    """A tensor's shape, strides and type, as a tensor that holds nothing."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _places(value: Any) -> set[int]:
    """Where the memory of its tensors begins."""
    return {tensor.untyped_storage().data_ptr() for tensor in _tensors(value) if tensor.numel()}


def _sized_by_numbers(func: OpOverload, args: Sequence[Any]) -> bool:
    """Whether the result's size hangs on numbers and not on sizes; indices may be masks."""
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if func is not torch.ops.aten.index.Tensor:
        return True
    return any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1]))


def _composite(func: OpOverload, args: object) -> bool:
    """Whether autograd would have taken the operation apart into others."""
    first = next(_tensors(args), None)
    kind = "cpu" if first is None else first.device.type
    if (func, kind) not in _COMPOSITE:
        name: str = func.name()  # type: ignore[no-untyped-call]
        backend = torch._C._dispatch_key_for_device(kind)
        has = torch._C._dispatch_has_kernel_for_dispatch_key
        _COMPOSITE[func, kind] = has(name, "CompositeImplicitAutograd") and not has(name, backend)
    return _COMPOSITE[func, kind]


_COMPOSITE: dict[tuple[OpOverload, str], bool] = {}
