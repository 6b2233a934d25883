"""What the functions on one's own model take: each kind of argument read in one place.

What can be meant in one way only is converted; the rest is refused, by name, in one line.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from math import prod
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.errors import ConfigError, ModelError, UnknownNameError, shown
from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import Batch, LearningRule
from bioplaus.network.layer import Shape
from bioplaus.network.losses import LOSSES, Loss, get_loss
from bioplaus.own_model.own_network import OwnNetwork
from bioplaus.own_model.read_modules import told_shape
from bioplaus.plugins.from_file import add_rules
from bioplaus.plugins.rules import check_rule_class, rule_class

RuleLike = str | type[LearningRule[Any]] | LearningRule[Any]
"""A rule's name, its class, or a rule as configured."""
ArrayLike = Tensor | np.ndarray[Any, Any]

_OPTIMIZERS = {"lr", "learning_rate", "momentum", "weight_decay", "betas"}
_LOSSES = {
    "CrossEntropyLoss": 'loss="cross_entropy"',
    "cross_entropy": 'loss="cross_entropy"',
    "MSELoss": 'loss="mse", half the squared error summed over the outputs',
    "mse_loss": 'loss="mse", half the squared error summed over the outputs',
}
_SHAPE = "input_shape is the shape of one example, such as (1, 28, 28)"


def chosen_rule(
    rule: object,
    options: Mapping[str, object] | None = None,
    plugin: str | PathLike[str] | None = None,
) -> Rule:
    """The rule meant, with these options; plugin: a Python file whose rules have names then."""
    if plugin is not None:
        add_rules(str(plugin))
    options = dict(options or {})
    if isinstance(rule, str):
        cls: type[Rule] = rule_class(rule)
    elif isinstance(rule, type) and issubclass(rule, LearningRule):
        cls = rule
    elif isinstance(rule, LearningRule):
        cls, options = type(rule), {**rule.config.model_dump(), **options}
    else:
        raise ConfigError(
            f"rule is a name such as 'backprop', a rule's class or a rule, not {_named(rule)}"
        )
    check_rule_class(cls)
    try:
        return cls.configured(options)
    except UnknownNameError as error:
        if error.name in _OPTIMIZERS:
            raise ConfigError(
                f"{error.name} is no option of {cls.name}, but of an optimizer: give one, as in "
                "optimizer=bioplaus.OptimizerSpec(name='adam', lr=0.001)"
            ) from None
        raise


def chosen_loss(loss: object) -> Loss:
    """The loss of that name."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return get_loss(loss)
    name = getattr(loss, "__name__", type(loss).__name__)
    hint = _LOSSES.get(name, f"there are {', '.join(sorted(LOSSES))}")
    raise ConfigError(f"loss is a name, not {_named(loss)}: {hint}")


def chosen_seed(seed: object) -> int:
    """A whole number from 0 up."""
    if isinstance(seed, Integral) and not isinstance(seed, bool) and 0 <= int(seed) < 2**63:
        return int(seed)
    raise ConfigError(f"seed is a whole number from 0 up, not {shown(repr(seed))}")


def chosen_shape(model: nn.Module, shape: object) -> Shape:
    """Of one example: as given, or what the model tells."""
    if shape is None:
        told = told_shape(model) if isinstance(model, nn.Module) else ()
        if told is None:
            raise ModelError(
                "the model does not begin with Linear: give the shape of one example, "
                "as in input_shape=(1, 28, 28)"
            )
        return told
    if isinstance(shape, str) or not hasattr(shape, "__iter__"):
        raise ConfigError(f"{_SHAPE}, not {shown(repr(shape))}")
    sizes = list(shape)
    if not sizes or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ConfigError(f"{_SHAPE}, not {shown(repr(shape))}")
    if len(sizes) > 3:
        raise ConfigError(f"{_SHAPE}, without the batch, not {shown(repr(shape))}")
    return tuple(int(size) for size in sizes)


def check_surroundings(training: bool = True) -> None:
    """ModelError under torch's modes in which something else would be computed, or nothing."""
    if training and torch.is_inference_mode_enabled():
        raise ModelError("torch.inference_mode is on, in which nothing can be trained: leave it")
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            raise ModelError(
                "torch.autocast is on, and rules compute in the model's own precision: call this "
                "outside it"
            )


def examples(x: object) -> Tensor:
    """x as a tensor (N, ...) of float32 or float64, at least one example."""
    x = _tensor(x, "x")
    if x.dtype == torch.uint8:
        raise ModelError(
            "x is uint8, from 0 to 255, and models read floats: x.float() / 255 if it is images"
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise ModelError(f"x is {x.dtype}, and rules compute in float32 or float64: x.float()")
    if x.dim() < 2 or x.shape[0] == 0:
        raise ModelError(
            f"x holds a batch of examples, (N, ...), but has the shape {tuple(x.shape)}"
            + ("; a single one is x[None]" if x.dim() == 1 else ": give one example at least")
        )
    return x


def fitted(x: Tensor, own: OwnNetwork) -> Tensor:
    """x as the network reads it, in its precision; ModelError where it does not fit."""
    if x.device != own.some.device:
        raise ModelError(
            f"x is on {x.device}, but the model on {own.some.device}: "
            f"x.to({str(own.some.device)!r})"
        )
    shape, given = own.shape, tuple(x.shape[1:])
    flat = own.net.in_shape == (prod(shape),)
    loose = flat and len(shape) == 1 and prod(given) == prod(shape)
    if given != shape and not loose and not (flat and given == own.net.in_shape):
        raise ModelError(
            f"an example of x has the shape {given}, but the model reads {shape}"
            f"{_misplaced(tuple(x.shape), shape)}"
        )
    return x.to(own.some.dtype).reshape(-1, *own.net.in_shape)


def _misplaced(x: Shape, shape: Shape) -> str:
    """What may have happened to x."""
    if x == shape:
        return ": is it one example? x[None]"
    if len(x) == 2 and len(shape) == 1 and x[0] == shape[0]:
        return ": is it transposed? x.T"
    if len(shape) == 3 and len(x) == 4 and x[1:] == (*shape[1:], shape[0]):
        return ": are its channels last? x.permute(0, 3, 1, 2)"
    if shape[0] == 1 and x[1:] == shape[1:]:
        return ": it has no axis of channels; x[:, None]"
    if len(x) == 2 and x[1] == prod(shape):
        return f": x.reshape(-1, {', '.join(map(str, shape))})"
    return f": give x as (N, {', '.join(map(str, shape))})"


def batch_of(x: object, y: object, own: OwnNetwork) -> Batch:
    """A batch as the network reads it."""
    fitting = fitted(examples(x), own)
    batch = Batch(fitting, targets(y, fitting, own.outputs))
    for name, values in zip(("x", "y"), batch, strict=True):
        if not values.isfinite().all():  # one such step, and no weight is a number any more
            raise ModelError(f"{name} holds nan or infinity: leave those examples out")
    return batch


def targets(y: object, x: Tensor, outputs: int) -> Tensor:
    """Float targets (N, C), C <= outputs; class indices become one-hot over all outputs."""
    y, count = _tensor(y, "y"), x.shape[0]
    if y.shape[:1] != (count,):
        raise ModelError(
            f"y has the shape {tuple(y.shape)}, but x has {count} examples: give a label for each"
        )
    if y.device != x.device:
        raise ModelError(f"y is on {y.device}, but x on {x.device}: y.to({str(x.device)!r})")
    if y.is_complex() or y.dtype == torch.bool:
        raise ModelError(f"y is {y.dtype}: class indices are whole numbers, y.long()")
    if not y.is_floating_point():
        return _one_hot(y, outputs).to(x.dtype)
    if y.dim() != 2 or not 1 <= y.shape[1] <= outputs:
        raise ModelError(
            f"float targets are (N, C) with C at most the model's {outputs} outputs, "
            f"but y has the shape {tuple(y.shape)}"
            + ("; class indices are whole numbers, y.long()" if y.dim() == 1 else "")
        )
    return y.to(x.dtype)


def _one_hot(y: Tensor, outputs: int) -> Tensor:
    if y.dim() != 1:
        hint = ""
        if y.dim() == 2:
            hint = ": y[:, 0]" if y.shape[1] == 1 else ": y.float() if it is one-hot"
        raise ModelError(f"class indices are a vector, but y has the shape {tuple(y.shape)}{hint}")
    if not 0 <= int(y.min()) <= int(y.max()) < outputs:
        raise ModelError(
            f"y has classes outside 0..{outputs - 1}, the model's outputs: it holds "
            f"{int(y.min())}..{int(y.max())}; number the classes from 0, or give the model more "
            "outputs"
        )
    return F.one_hot(y.long(), outputs)


def _tensor(value: object, name: str) -> Tensor:
    """A dense tensor without a history, from a tensor or a numpy array."""
    if isinstance(value, np.ndarray):
        try:
            value = torch.from_numpy(np.ascontiguousarray(value).copy())
        except TypeError:
            way = f"{name}.astype('float32')" if name == "x" else "number the classes from 0"
            raise ModelError(
                f"{name} is an array of {value.dtype}, not of numbers: {way}"
            ) from None
    if not isinstance(value, Tensor):
        hint = f"{name}.to_numpy()" if hasattr(value, "to_numpy") else f"torch.tensor({name})"
        raise ModelError(f"{name} is a tensor or a numpy array, not {_named(value)}: {hint}")
    if value.layout != torch.strided or value.is_nested:
        raise ModelError(f"{name} is a sparse or nested tensor: {name}.to_dense()")
    if value.requires_grad:
        raise ModelError(
            f"{name} needs a gradient, and a learning rule passes none on to it: {name}.detach()"
        )
    return value


def _named(value: object) -> str:
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__name__}"
    kind = type(value).__name__
    return shown(f"{value!r} ({kind})") if isinstance(value, int | float | str) else f"a {kind}"
