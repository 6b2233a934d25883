"""A model as a network of the layer algebra, with the parameters that the two share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.learning.rule import NoiseSpec
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params, Shape
from bioplaus.network.losses import Loss
from bioplaus.network.network import Network
from bioplaus.own_model.probe import check_forward
from bioplaus.own_model.read_modules import read_modules
from bioplaus.own_model.reader import place_of

PRECISIONS = torch.float32, torch.float64


class OwnNetwork:
    """One's own `nn.Module`, read as a network."""

    def __init__(self, model: nn.Module, shape: Shape, loss: Loss) -> None:
        """Read on examples of `shape`; ModelError naming a module that has no place."""
        self.model, self.shape = model, shape
        self._reading = read_modules(model, shape)
        self._modules = [model.get_submodule(place.name) for place in self._reading.places]
        _check_precision(model)
        layers = self._reading.layers
        self.outputs = layers[-1].out_shape[0]
        self.net = Network(layers, loss, classes=self.outputs, nodes=self._reading.nodes)
        self.norms = Norms(self._modules, self.net)
        self.names: Mapping[str, nn.Parameter] = self._reading.parameters
        """The network's name of each place -> the model's parameter, which tied places share."""

    @property
    def some(self) -> nn.Parameter:
        """A parameter: all are of one precision and on one device."""
        return next(iter(self.names.values()))

    def narrow(self, classes: int) -> None:
        """Leave the outputs beyond the first so many without a target."""
        self.net = replace(self.net, classes=classes)

    def check_forward(self) -> None:
        """ModelError, naming the module, where the network's forward pass is not the model's."""
        check_forward(self.model, self.net, self._reading)

    def check_same(self) -> None:
        """ModelError where the model is no longer as it was read."""
        now = OwnNetwork(self.model, self.shape, self.net.loss)
        same = now._modules == self._modules and now.net.layers == self.net.layers
        changed = [
            name
            for name in (*now.names, *self.names)
            if now.names.get(name) is not self.names.get(name)
        ]
        if not same or changed:
            what = f"another parameter at layer {changed[0]}" if changed else "other modules"
            raise ModelError(
                f"the model has changed since the learner was made: it has {what}; make a new "
                "learner for it"
            )

    def params(self) -> Params:
        """The parameters' values, by the network's names."""
        return {name: parameter.detach() for name, parameter in self.names.items()}

    def trained(self) -> dict[str, nn.Parameter]:
        """Those that are not frozen; ModelError where all are."""
        found = {name: p for name, p in self.names.items() if p.requires_grad}
        if not found:
            raise ModelError(
                "every parameter of the model is frozen (requires_grad is False): there is nothing "
                "to train; model.requires_grad_(True) thaws all"
            )
        return found

    def masks(self, count: int) -> dict[str, NoiseSpec]:
        """What the dropout modules draw for so many examples, of those in training mode."""
        shapes = self.net.uniform_shapes(count)
        places = zip(self._reading.places, self._modules, strict=True)
        on = {f"{p.layer + 1}.uniform" for p, module in places if module.training}
        return {name: NoiseSpec(shape, "uniform") for name, shape in shapes.items() if name in on}

    def ties(self) -> list[list[str]]:
        """The names of each parameter that stands at several places."""
        places: dict[int, list[str]] = {}
        for name, parameter in self.names.items():
            places.setdefault(id(parameter), []).append(name)
        return [names for names in places.values() if len(names) > 1]


def _check_precision(model: nn.Module) -> None:
    """ModelError unless all parameters are of one precision that rules know, on one device."""
    first: tuple[str, Tensor] | None = None
    for name, tensor in model.named_parameters():
        if first is None:
            first = name, tensor
        known, there = tensor.dtype in PRECISIONS and not tensor.is_meta, first[1]
        if known and tensor.dtype == there.dtype and tensor.device == there.device:
            continue
        where = f"{_owner(model, name)} is"
        if tensor.dtype not in PRECISIONS:
            raise ModelError(
                f"{where} {tensor.dtype}, and rules compute in float32 or float64: model.float()"
            )
        if tensor.is_meta:
            raise ModelError(f"{where} on the meta device, without numbers: model.to_empty first")
        raise ModelError(
            f"{where} {tensor.dtype} on {tensor.device}, but {_owner(model, first[0])} "
            f"{there.dtype} on {there.device}: move the whole model, as in "
            "model.to('cpu', torch.float32)"
        )


def _owner(model: nn.Module, parameter: str) -> str:
    module, _, own = parameter.rpartition(".")
    return f"{place_of(model.get_submodule(module), module)}: its {own}"
