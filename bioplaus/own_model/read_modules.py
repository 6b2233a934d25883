"""One's own model as layers of the layer algebra."""

from __future__ import annotations

from torch import nn

from bioplaus.errors import ModelError
from bioplaus.network.layer import Shape
from bioplaus.own_model.read_traced import TracingReader, traced
from bioplaus.own_model.reader import Reading, type_of


def read_modules(model: nn.Module, shape: Shape) -> Reading:
    """The model as layers, and its parameters by the network's names.

    A model that begins with Linear or Flatten reads its examples as vectors. Raises
    ModelError naming the module, or the node of its graph, that has no place.
    """
    _check_module(model)
    reader = TracingReader(shape)
    reader.read(model, "")
    if not reader.parameters:
        raise ModelError("the model has no Linear or Conv2d module: there is nothing to train")
    if len(reader.shape) != 1:
        raise ModelError(
            f"the model's last layer gives the shape {reader.shape}, not a vector: end with "
            "Flatten and Linear"
        )
    layers = reader.layers()
    called = shape if reader.flattens else layers[0].in_shape
    return Reading(layers, reader.parameters, called, reader.nodes(layers), tuple(reader.places))


def _check_module(model: object) -> None:
    """ModelError for what is no model that can be read."""
    wrapped = getattr(model, "_orig_mod", getattr(model, "module", None))
    hint = ": give the model inside it" if isinstance(wrapped, nn.Module) else ""
    if not isinstance(model, nn.Module) or hint:
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ModelError(f"the model must be an nn.Module, not {kind}{hint}")


def told_shape(model: nn.Module) -> Shape | None:
    """Of one example, where the model's first module that is not indifferent to it tells."""
    if type_of(model) is None:
        return _told_by_trace(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if isinstance(module, nn.BatchNorm1d):
            return (module.num_features,)
        if not isinstance(module, nn.Sequential | nn.Flatten | nn.Identity | nn.Dropout):
            return None
    return None


def _told_by_trace(model: nn.Module) -> Shape | None:
    """What a module says that reads the input of a traced model."""
    graph = traced(model, "")
    for node in next(iter(graph.nodes)).users:
        if node.op == "call_module":
            told = told_shape(model.get_submodule(str(node.target)))
            if told is not None:
                return told
    return None
