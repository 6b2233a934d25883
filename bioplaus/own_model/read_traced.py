"""Modules with a `forward` of their own, read from the graph that torch.fx traces of it.

What a trace does not show is not read: what depends on numbers cannot be traced, and what tracing
takes for constant (a branch on `self.training`, a tensor made in `forward`) is refused, or found
where the network's forward pass is compared with the model's.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn

from bioplaus.errors import ConfigError, ModelError, shown
from bioplaus.network.activations import Activation
from bioplaus.network.combining import Add
from bioplaus.own_model.functions import (
    FUNCTIONS,
    METHODS,
    Value,
    asks_size,
    name_of,
    why_unknown,
)
from bioplaus.own_model.plain_modules import check_hooks
from bioplaus.own_model.reader import Reader, place_of, type_of
from bioplaus.system.blame import files_of, place


class TracingReader(Reader):
    """A reader that traces modules of no type that has a place."""

    _traced = 0
    """How many traced modules are around."""

    def unknown(self, module: nn.Module, name: str) -> None:
        if of_torch(module):
            super().unknown(module, name)
        self._traced += 1
        _Trace(self, module, name).read()
        self._traced -= 1

    def activate(self, activation: Activation) -> None:
        """In a trace, any value may have an activation, which is a layer where it must be."""
        if self._traced and self.at not in self.open:
            self.append(Add(self.shape, 1, activation))
        else:
            super().activate(activation)

    @property
    def rows_are_nodes(self) -> bool:
        return not self._traced


class _Trace:
    """One module's trace, read node by node."""

    def __init__(self, reader: TracingReader, module: nn.Module, name: str) -> None:
        self.reader, self.module, self.name = reader, module, name
        self._graph = traced(module, name)
        self._known: dict[fx.Node, Any] = {}
        """What each node stands for: a value, or a number, a shape, pieces of a value."""

    def read(self) -> None:
        """All of it; the reader then stands at what the module gives."""
        for node in self._graph.nodes:
            try:
                known = self._node(node)
            except ConfigError as error:
                raise ModelError(f"{self._where(node)}: {error}") from None
            self._known[node] = known
            if isinstance(known, Value) and len(_readers(node)) > 1:
                self.reader.open.discard(known.number)
                self.reader.once = self.reader.once and known.number > 0

    def _node(self, node: fx.Node) -> object:
        if node.op == "placeholder":
            if not self._known:
                return Value(self.reader.at)
            if node.users:
                raise ConfigError("a rule gives a model one input, and this is another")
            return None
        if node.op == "get_attr":
            raise ConfigError(
                "it is a tensor of the module's own, and rules train the weights of Linear, Conv2d "
                "and BatchNorm modules alone"
            )
        args = fx.map_arg(node.args, self._known.__getitem__)
        kwargs = fx.map_arg(node.kwargs, self._known.__getitem__)
        if node.op == "output":
            self.reader.at = value(args[0], "what it returns").number
            return None
        _check_in_place(node, self.module)
        if node.op == "call_module":
            return self._module(str(node.target), args, kwargs)
        table: dict[Any, Any] = FUNCTIONS if node.op == "call_function" else METHODS
        handler = table.get(node.target)
        if handler is None:
            raise ConfigError(why_unknown(node.target))
        try:
            inspect.signature(handler).bind(self.reader, *args, **kwargs)
        except TypeError:
            raise ConfigError("no learning rule knows it with these arguments") from None
        return handler(self.reader, *args, **kwargs)

    def _module(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        if len(args) != 1 or kwargs:
            raise ConfigError("it is called with more than one input")
        self.reader.at = value(args[0], "its input").number
        name = f"{self.name}.{target}" if self.name else target
        self.reader.read(self.module.get_submodule(target), name)
        return Value(self.reader.at)

    def _where(self, node: fx.Node) -> str:
        """The innermost module around a node, and what the node calls."""
        module, name = self.module, self.name
        for inner, _ in node.meta.get("nn_module_stack", {}).values():
            if node.op != "call_module" or inner != node.target:
                module = self.module.get_submodule(inner)
                name = f"{self.name}.{inner}" if self.name else inner
        called = "" if node.op in ("placeholder", "output") else f" ({name_of(node.target)})"
        return f"{place_of(module, name)}: node {shown(node.name)}{called}"


def value(found: object, what: str) -> Value:
    """One of the network's values; ConfigError where it is something else."""
    if not isinstance(found, Value):
        raise ConfigError(f"{what} is no single tensor of the graph")
    return found


def _readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that read a node's numbers, and not its shape alone."""
    return [user for user in node.users if not asks_size(user)]


def _check_in_place(node: fx.Node, module: nn.Module) -> None:
    """ConfigError where the node changes a value that is read elsewhere too."""
    target = node.target
    in_place = node.kwargs.get("inplace", False)
    if node.op == "call_module":
        in_place = getattr(module.get_submodule(str(target)), "inplace", False)
    elif name_of(target).endswith("_"):
        in_place = True
    first = node.args[0] if node.args else None
    if in_place is True and isinstance(first, fx.Node) and len(_readers(first)) > 1:
        raise ConfigError(
            f"it changes {shown(first.name)} in place, which is read elsewhere too: make it out of "
            "place"
        )


def of_torch(module: nn.Module) -> bool:
    """Whether a module is torch's own, and not one that somebody put together."""
    return type(module).__module__.split(".")[0] == "torch"


class _Tracer(fx.Tracer):
    """Goes into modules that somebody put together, and into no others."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type_of(m) is not None or of_torch(m):
            return True
        name = module_qualified_name
        _check_whole(m, f"{self._prefix}.{name}" if self._prefix else name)
        return False


def traced(module: nn.Module, name: str) -> fx.Graph:
    """The module's graph; ModelError where torch.fx finds none."""
    _check_whole(module, name)
    try:
        return _Tracer(name).trace(module)
    except ModelError:
        raise
    except Exception as error:  # the module's own code may raise anything
        where = place(error, files_of(module))
        at = f" ({where})" if where else ""
        if "control flow" in str(error):
            raise ModelError(
                f"{place_of(module, name)}: its forward decides by numbers of its input{at}, and "
                "rules train one network for all inputs: write torch.where, or take the `if` out"
            ) from None
        line = shown(str(error).partition("\n")[0]) + at
        raise ModelError(
            f"{place_of(module, name)}: torch.fx reads no static graph from its forward: {line}; "
            "docs/your-network.md says what a forward may do"
        ) from None


def _check_whole(module: nn.Module, name: str) -> None:
    try:
        check_hooks(module)
    except ConfigError as error:
        raise ModelError(f"{place_of(module, name)}: {error}") from None
