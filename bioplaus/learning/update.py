"""What goes into a step of a rule, and what comes out of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from bioplaus.network.layer import Params, Shape
from bioplaus.network.shapes import Below, Targets


class Batch(NamedTuple):
    """One minibatch: x (N, *in_shape) and float targets y (N, C), one-hot for classes."""

    x: Below
    y: Targets


class State(NamedTuple):
    """What a rule keeps between steps. Tensors only: vmap refuses anything else."""

    aux: Params
    """Auxiliary parameters learned through `aux_grads` and an optimizer of their own."""
    memory: Params
    """Everything else: fixed feedback weights, averages, approximate inverses."""


class Update(NamedTuple):
    """What one step of a rule returns."""

    grads: Params
    """The rule's stand-in for the loss gradient of every parameter, in gradient sign."""
    penalty: Params
    """Gradient of the rule's own regulariser, {} if none; left out of alignment probes."""
    aux_grads: Params
    """Gradients of `state.aux`, the same names."""
    memory: Params
    """The next `state.memory`, the same names, shapes and dtypes."""
    metrics: dict[str, Tensor]
    """Scalars, averaged over an epoch; always "loss"."""

    @property
    def total(self) -> Params:
        """What the optimizer descends: `grads`, and `penalty` where there is one."""
        penalty = self.penalty
        return {n: g + penalty[n] if n in penalty else g for n, g in self.grads.items()}


class Resting(NamedTuple):
    """What does not learn in a step: no optimizer touches it, nor the moments it keeps of it.

    Names of tensors, or what stands before a point in them: "2" is all of layer 2. A gradient of
    zero is another thing: under Adam, momentum or weight decay a parameter moves on.

    Example:

        >>> from bioplaus import Resting
        >>> Resting(params=frozenset({"1", "3.bias"})).params >= {"3.bias"}
        True
    """

    params: frozenset[str] = frozenset()
    aux: frozenset[str] = frozenset()


class NoiseSpec(NamedTuple):
    """Random numbers that a rule wants at each step, drawn afresh by the harness."""

    shape: Shape
    kind: Literal["normal", "uniform"] = "normal"
    """Standard normal, or uniform on (0, 1)."""
