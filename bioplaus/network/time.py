"""Networks in time: examples become trains, ordinary layers run at each step, trains are read out.

An encoder makes T steps of an example, `AtEachStep` applies a layer to each of them, with a
neuron that remembers between them, and a readout takes the mean over time. So a spiking network
is a chain of layers as any other: feed-forward layers are simulated one after the other over all
T steps, which gives the same spikes as all layers step by step, and costs one product of N T
rows. What is stored of a pass grows with T.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, LayerTrace, Params, Residuals, Shape
from bioplaus.network.neuron import Neuron
from bioplaus.network.pooling import Fixed
from bioplaus.numerics.membrane import Membrane, fire
from bioplaus.numerics.random_streams import Stream

Code = Literal["accumulate", "current", "latency", "bernoulli", "sequence"]


@dataclass(frozen=True)
class AtEachStep(Layer):
    """A layer applied at each of T steps, its input `delay` steps old; trains (N, T, ...).

    The activation is a neuron that runs along time, or elementwise; the inner layer's own is
    not used. Before the first step the input is 0.
    """

    inner: Layer
    steps: int
    activation: Activation = field(default_factory=Identity)
    delay: int = 0
    in_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a network in time has at least one step, not {self.steps}")
        if self.delay not in (0, 1):
            raise ConfigError(f"a delay is 0 or 1 step, not {self.delay}")

    @property
    def kind(self) -> str:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.kind

    @property
    def one_by_one(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.one_by_one

    @property
    def mixes_examples(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.mixes_examples

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.linear

    @property
    def in_shape(self) -> Shape:
        return (self.steps, *self.inner.in_shape)

    @property
    def out_shape(self) -> Shape:
        return (self.steps, *self.inner.out_shape)

    @property
    def unit_shape(self) -> Shape:
        return self.inner.out_shape

    def multiply_adds(self) -> int:
        return self.steps * self.inner.multiply_adds()

    def uniform_shape(self, batch_size: int) -> Shape | None:
        return self.inner.uniform_shape(batch_size * self.steps)

    def init(self, stream: Stream, init: Init) -> Params:
        return self.inner.init(stream, init)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        delayed = shifted(h, self.delay)
        a, residuals = self.inner.forward(p, delayed.flatten(0, 1))
        return a.reshape(-1, self.steps, *a.shape[1:]), (residuals,)

    def trace(self, p: Params, h: Tensor) -> LayerTrace:
        """As of any layer; of a neuron the potentials stand for the pre-activations."""
        neuron = self.activation
        if not isinstance(neuron, Neuron):
            return super().trace(p, h)
        a, residuals = self.forward(p, h)
        u, s = neuron.run(a)
        return LayerTrace(h, u, neuron.slopes(u, s), s, residuals)

    def pull(self, step: LayerTrace, e: Tensor) -> Tensor:
        neuron = self.activation
        if not isinstance(neuron, Neuron):
            return super().pull(step, e)
        return neuron.pull(step.slope, step.preactivation, step.output, e)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        e = self.inner.adjoint(p, residuals[0], d.flatten(0, 1))
        return shifted(e.reshape(-1, self.steps, *e.shape[1:]), -self.delay)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        """The mean over the batch of the sums over time."""
        grads = self.inner.weight_grad(residuals[0], d.flatten(0, 1))
        return {name: self.steps * mean for name, mean in grads.items()}

    def matrix(self, p: Params) -> Tensor | None:
        return self.inner.matrix(p)

    def read(self, h: Tensor) -> Tensor:
        return self.inner.read(h)

    def why_not_invertible(self) -> str | None:
        return "it runs in time"

    def why_not_reversible(self) -> str | None:
        return "it runs in time"


@dataclass(frozen=True)
class Encode(Fixed):
    """Examples in [0, 1] as trains of T steps, (N, ...) -> (N, T, ...).

    accumulate: a unit sums its input, and spikes and loses 1 where it has 1; T x spikes, give or
    take one. current: the input itself at each step, no spikes. latency: one spike, the sooner
    the larger the input, at step floor((1 - x) T) from 0; none for 0. bernoulli: a spike with
    probability x at each step, by p["uniform"]; without it, as in a prediction, accumulate.
    sequence: the example is the train, cut into T equal parts in its order, such as an image's
    rows; each is a vector.

    Errors end here: to what is below a train of spikes no derivative leads. Those of a current and
    of a sequence go on.
    """

    below: Shape
    steps: int
    how: Code = "accumulate"
    in_predictions: bool = False
    """Of bernoulli: it draws in predictions, too."""
    kind: ClassVar[str] = "encode"
    in_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.how == "sequence" and prod(self.below) % self.steps:
            raise ConfigError(
                f"examples of {prod(self.below)} values are no sequence of {self.steps} equal "
                "parts: set `steps` to the number of their rows"
            )

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return (self.steps, *self.unit_shape)

    @property
    def unit_shape(self) -> Shape:
        return (prod(self.below) // self.steps,) if self.how == "sequence" else self.below

    def uniform_shape(self, batch_size: int) -> Shape | None:
        return (batch_size, *self.out_shape) if self.how == "bernoulli" else None

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        if self.how == "sequence":
            return h.reshape(-1, *self.out_shape), ()
        x = h.unsqueeze(1)
        repeated = x.expand(-1, self.steps, *self.below)
        if self.how == "current":
            return repeated, ()
        if self.how == "bernoulli" and "uniform" in p:
            return (p["uniform"] < x).to(h.dtype), ()
        if self.how == "latency":
            when = torch.floor((1 - x) * self.steps)
            at = torch.arange(self.steps, device=h.device).reshape(-1, *[1] * len(self.below))
            return ((when == at) & (x > 0)).to(h.dtype), ()
        return fire(repeated.detach(), Membrane(1.0, 1.0))[1], ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        if self.how == "sequence":
            return d.reshape(-1, *self.below)
        below = d.sum(1)
        return below if self.how == "current" else torch.zeros_like(below)

    def why_not_invertible(self) -> str | None:
        return "it runs in time"


@dataclass(frozen=True)
class Readout(Fixed):
    """The mean over time, (N, T, ...) -> (N, ...): rates of spikes, or the mean potential.

    last: over so many steps at the end alone, before which no answer is asked; None for all.
    """

    below: Shape
    steps: int
    last: int | None = None
    kind: ClassVar[str] = "readout"
    in_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.asked <= self.steps:
            raise ConfigError(
                f"a readout of the last {self.last} steps, of {self.steps}: make last smaller, or "
                "steps more"
            )

    @property
    def asked(self) -> int:
        """The steps that the mean is over."""
        return self.steps if self.last is None else self.last

    @property
    def in_shape(self) -> Shape:
        return (self.steps, *self.below)

    @property
    def out_shape(self) -> Shape:
        return self.below

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return h[:, self.steps - self.asked :].mean(1), ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        share = (d / self.asked).unsqueeze(1)
        answers = share.expand(-1, self.asked, *self.below)
        if self.asked == self.steps:
            return answers
        before = torch.zeros_like(share).expand(-1, self.steps - self.asked, *self.below)
        return torch.cat([before, answers], dim=1)

    def why_not_invertible(self) -> str | None:
        return "it runs in time"


def shifted(train: Tensor, delay: int) -> Tensor:
    """The train so many steps later, or earlier where that is negative; 0 where nothing is."""
    if delay == 0:
        return train
    nothing = torch.zeros_like(train[:, :1])
    if delay > 0:
        return torch.cat([nothing, train[:, :-1]], dim=1)
    return torch.cat([train[:, 1:], nothing], dim=1)
