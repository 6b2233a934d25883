"""The layer algebra: what a learning rule may ask of a layer without knowing its kind.

A layer is an affine map followed by an activation, h_l = f(W_l h_{l-1} + b_l). Rules
move errors through it with `adjoint` (W^T, or any feedback weights of the same shape)
and `solve` (W^-1), and read the weight gradient off with `weight_grad`; they never
look at how W is stored. Parameter-free layers return {} where parameters are due.

Shapes: a batch has N examples on the first axis. Everything is for one network; the
harness adds the replicas.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.shapes import Above, Below
from bioplaus.numerics.linalg import solve_rows
from bioplaus.numerics.random_streams import Stream

Params = dict[str, Tensor]
Shape = tuple[int, ...]
Residuals = tuple[Any, ...]
"""What a layer's backward operations need of its forward pass, opaque to rules."""

Solver = Callable[[Tensor, Tensor], Tensor]
"""(A, D) -> E with A e = d for each row e of E and d of D; A (n, n), D and E (N, n)."""

InitScheme = Literal["orthogonal", "xavier_normal", "xavier_uniform", "lecun_normal"]


@dataclass(frozen=True)
class Init:
    """How initial weights are drawn; biases start at zero.

    orthogonal: orthonormal rows or columns (Haar). xavier_normal, xavier_uniform:
    variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010). lecun_normal: variance
    1 / fan_in. All times `gain`.
    """

    scheme: InitScheme = "orthogonal"
    gain: float = 1.0

    def weight(
        self, stream: Stream, rows: int, columns: int, fans: tuple[int, int] | None = None
    ) -> Tensor:
        """A (rows, columns) float64 matrix; its fan-in and fan-out, if not columns and rows."""
        return self.gain * _SCHEMES[self.scheme](stream, (rows, columns), fans or (columns, rows))


def _xavier_uniform(stream: Stream, shape: tuple[int, int], fans: tuple[int, int]) -> Tensor:
    bound: float = (6 / sum(fans)) ** 0.5
    return bound * (2 * stream.uniform(shape) - 1)


_Scheme = Callable[[Stream, tuple[int, int], tuple[int, int]], Tensor]
_SCHEMES: dict[str, _Scheme] = {
    "orthogonal": lambda stream, shape, fans: stream.orthogonal(*shape),
    "xavier_normal": lambda stream, shape, fans: (2 / sum(fans)) ** 0.5 * stream.normal(shape),
    "xavier_uniform": _xavier_uniform,
    "lecun_normal": lambda stream, shape, fans: (1 / fans[0]) ** 0.5 * stream.normal(shape),
}


_IDENTITY = Identity()


class LayerTrace(NamedTuple):
    """What one layer did in a forward pass over N examples."""

    input: Below
    """h_{l-1}, (N, *in_shape)."""
    preactivation: Above
    """a_l = W_l h_{l-1} + b_l, (N, *out_shape); of spiking units their potentials."""
    slope: Above
    """D_l = f'(a_l), (N, *out_shape); of spiking units the surrogate at each step."""
    output: Above
    """h_l = f(a_l), (N, *out_shape)."""
    residuals: Residuals


class Layer(ABC):
    """One layer as data; its parameters live outside, in a dict of tensors."""

    kind: ClassVar[str]
    one_by_one: ClassVar[bool] = False
    """On the CPU, vmap goes through the replicas of this layer in a loop."""
    mixes_examples: ClassVar[bool] = False
    """An example's output depends on the others of its batch."""
    branches: ClassVar[bool] = False
    """Part of a graph: it carries values past others, or combines them."""
    linear: ClassVar[bool] = True
    """Its weights, if any, multiply all that it reads; `design` says how."""
    in_time: ClassVar[bool] = False
    """What it reads or gives are trains, (N, T, ...)."""
    activation: Activation
    in_predictions: bool = False

    @property
    @abstractmethod
    def in_shape(self) -> Shape:
        """Shape of one example's input."""

    @property
    @abstractmethod
    def out_shape(self) -> Shape:
        """Shape of one example's output."""

    @property
    def unit_shape(self) -> Shape:
        """Shape of the layer's units: `out_shape`, at one step of a train."""
        return self.out_shape

    @abstractmethod
    def init(self, stream: Stream, init: Init) -> Params:
        """Initial parameters, float64 on the CPU."""

    @abstractmethod
    def forward(self, p: Params, h: Below) -> tuple[Above, Residuals]:
        """Pre-activation W h + b of a batch, and what the operations below need."""

    @abstractmethod
    def adjoint(self, p: Params, residuals: Residuals, d: Above) -> Below:
        """W^T d for each example, or B d for feedback weights p["weight"] shaped like W."""

    @abstractmethod
    def weight_grad(self, residuals: Residuals, d: Above) -> Params:
        """Batch mean of d h^T and of d, for post-synaptic vectors d at the pre-activation."""

    def multiply_adds(self) -> int:
        """Of the forward pass of one example."""
        return 0

    def uniform_shape(self, batch_size: int) -> Shape | None:
        """Of random numbers on (0, 1), p["uniform"]: in training, or if `in_predictions` always."""
        return None

    def trace(self, p: Params, h: Below) -> LayerTrace:
        """`forward`, the activation and its slope."""
        a, residuals = self.forward(p, h)
        return LayerTrace(h, a, self.activation.slope_at(a), self.activation(a), residuals)

    def pull(self, step: LayerTrace, e: Above) -> Above:
        """d, the error at the pre-activation, from e, that at the layer's output.

        D_l * e_l, and of units that remember, what comes back through time besides.
        """
        return step.slope * e

    def why_not_invertible(self) -> str | None:
        """None where `solve` and `preimage` exist, else the reason they do not."""
        return f"a {self.kind} layer has no inverse"

    def solve(
        self, p: Params, residuals: Residuals, d: Above, solver: Solver = solve_rows
    ) -> Below:
        """W^-1 d for each example; zero on input units that the layer does not read."""
        raise ConfigError(self.why_not_invertible() or "no inverse")

    def preimage(self, p: Params, residuals: Residuals, a: Above) -> Below:
        """The input whose pre-activation is a; units that are not read keep their activity."""
        raise ConfigError(self.why_not_invertible() or "no inverse")

    def matrix(self, p: Params) -> Tensor | None:
        """W as a matrix (outputs, inputs read); None for a layer without weights."""
        return None

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rows that W multiplies, (M, inputs read), and the d at each, (M, outputs).

        W's gradient is d^T rows / N: one row for each example, or for each place where a
        shared W is applied. None for a layer without weights.
        """
        return None

    def read(self, h: Tensor) -> Tensor:
        """The part of an input that the layer reads."""
        return h

    def write(self, h: Tensor, part: Tensor) -> Tensor:
        """The input h with the part that the layer reads replaced."""
        return part

    def reverse(self, activation: Activation) -> Layer:
        """A layer from this one's output to what it reads, for a learned inverse."""
        raise ConfigError(f"a {self.kind} layer has no learned inverse")

    def why_not_reversible(self) -> str | None:
        """None where `reverse` exists, else the reason it does not."""
        return f"a {self.kind} layer has no learned inverse"


@dataclass(frozen=True)
class Dense(Layer):
    """All-to-all weights (n_out, n_in) and a bias (n_out)."""

    n_in: int
    n_out: int
    activation: Activation = _IDENTITY
    bias: bool = True
    kind: ClassVar[str] = "dense"

    @property
    def reads(self) -> int:
        """How many of the input's units, the first ones, have outgoing weights."""
        return self.n_in

    @property
    def in_shape(self) -> Shape:
        return (self.n_in,)

    @property
    def out_shape(self) -> Shape:
        return (self.n_out,)

    def multiply_adds(self) -> int:
        return self.n_out * self.reads

    def init(self, stream: Stream, init: Init) -> Params:
        weight = init.weight(stream.at("weight"), self.n_out, self.reads)
        return {"weight": weight} | ({"bias": weight.new_zeros(self.n_out)} if self.bias else {})

    def forward(self, p: Params, h: Below) -> tuple[Above, Residuals]:
        return F.linear(self.read(h), p["weight"], p.get("bias")), (h,)

    def adjoint(self, p: Params, residuals: Residuals, d: Above) -> Below:
        return self._pad(d @ p["weight"])

    def weight_grad(self, residuals: Residuals, d: Above) -> Params:
        (h,) = residuals
        mean = d / d.shape[0]
        grad = {"weight": mean.T @ self.read(h)}
        return grad | ({"bias": mean.sum(0)} if self.bias else {})

    def why_not_invertible(self) -> str | None:
        if self.reads != self.n_out:
            return f"its weights are {self.n_out} x {self.reads}, not square"
        return None

    def solve(
        self, p: Params, residuals: Residuals, d: Above, solver: Solver = solve_rows
    ) -> Below:
        return self._pad(solver(p["weight"], d))

    def preimage(self, p: Params, residuals: Residuals, a: Above) -> Below:
        (h,) = residuals
        drive = a - p["bias"] if self.bias else a
        return self.write(h, solve_rows(p["weight"], drive))

    def matrix(self, p: Params) -> Tensor | None:
        return p["weight"]

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        (h,) = residuals
        return self.read(h), d

    def read(self, h: Tensor) -> Tensor:
        return h[..., : self.reads]

    def write(self, h: Tensor, part: Tensor) -> Tensor:
        return torch.cat([part, h[..., self.reads :]], dim=-1) if self.reads < self.n_in else part

    def reverse(self, activation: Activation) -> Layer:
        return Dense(self.n_out, self.reads, activation)

    def why_not_reversible(self) -> str | None:
        return None

    def _pad(self, e: Tensor) -> Tensor:
        return F.pad(e, (0, self.n_in - self.reads)) if self.reads < self.n_in else e


@dataclass(frozen=True)
class Tower(Dense):
    """Square weights that read only the first n_out units below (GAIT-prop, section 2.1).

    The other units below are auxiliary: they have incoming weights, but no effect on
    the forward pass, and their error is zero.
    """

    kind: ClassVar[str] = "tower"

    def __post_init__(self) -> None:
        if self.n_out > self.n_in:
            raise ConfigError(
                f"a tower layer cannot widen: {self.n_out} units above {self.n_in}; "
                "its widths must not increase"
            )

    @property
    def reads(self) -> int:
        return self.n_out
