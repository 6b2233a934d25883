"""Iterative Poisson VAE: an example is explained by spike counts, inferred by predictive coding.

The last layer is the generative model, x = f(W z + b) with counts z; nothing is amortised, so that
layers below it rest. From log rates u_0 that are learned, for t = 1 .. T:

    z ~ Poisson(e^u),   r = f'(a) (x - f(a)) / s^2,   a = W z + b
    u <- c(u + c(eta (W^T r - kappa - beta (u - u_{t-1})))),   c(v) = 10 - softplus(10 - max(v, -8))

The free energy of a step is F_t = sum (x - f(a))^2 / (2 s^2) + log s + beta KL(e^u | e^{u_{t-1}}),
with z drawn again from the new u. Learned locally, from each step alone, it takes

    gW = -<r z^T>,   gb = -<r>,   g log s = 1 - <(x - f(a))^2> / s^2,
    g u_0 = beta <e^{u_0} - e^{u_1}> / T, the gradient of the first step's KL

averaged over the T steps; under "bptt" the gradient of the mean F_t through all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.func import grad

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import (
    AuxOptimizer,
    Batch,
    LearningRule,
    NoiseSpec,
    Resting,
    RuleConfig,
    State,
    Update,
)
from bioplaus.learning.search_space import LEARNING_RATE, LogUniform, SearchSpace
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .gaussian_pixels import cost, image_r2, log_sigma_grad, variance, why_not_generative
from .perturbation import weighted_layers
from .poisson import Draw, curvature, kl, relaxed, whole

_WIDEST = 3.45
"""Of log s under bptt, as in the authors' code."""
_COLDEST = 0.01


class IpVaeConfig(RuleConfig):
    learning: Literal["local", "bptt"] = Field(
        "local", description="by each step alone, or by backpropagation through all of them"
    )
    steps: int = Field(16, ge=1, description="T of the inference")
    inner: int = Field(1, ge=1, description="updates of the log rates a step")
    eta: float = Field(0.1, gt=0, description="step size of the log rates; learned under bptt")
    kappa: float = Field(
        0.3, gt=0, description="cost of a spike: makes the code sparse; learned under bptt"
    )
    beta: float = Field(1.0, ge=0, description="weight of the KL; no weight feels it under local")
    least_sigma: float = Field(
        0.1, gt=0, description="local: floor of the pixels' s; without it rates explode in the end"
    )
    arrivals: int = Field(16, ge=1, description="bptt: the largest count, of relaxed ones")
    cooling: int = Field(400, ge=1, description="bptt: steps in which relaxed counts turn whole")


@dataclass(frozen=True)
class Model:
    """The generative model of one network, and the inference of its log rates."""

    net: Network
    params: Params
    sigma2: Tensor
    """Of the pixels, (M,)."""
    eta: Tensor | float
    kappa: Tensor | float
    beta: float

    def made(self, z: Tensor) -> LayerTrace:
        """What counts (N, K) give: its output is (N, M)."""
        return self.net.step(self.params, self.net.depth - 1, z)

    def error(self, x: Tensor, made: LayerTrace) -> Tensor:
        """r, weighted by precision, (N, M)."""
        return made.slope * (x - made.output) / self.sigma2

    def drive(self, x: Tensor, z: Tensor, u: Tensor, u0: Tensor) -> Tensor:
        """Of the log rates, (N, K): -grad F / e^u in mean field, where kappa is 0."""
        top, made = self.net.depth - 1, self.made(z)
        r = self.error(x, made)
        up = self.net.layers[top].adjoint(self.net.at(self.params, top), made.residuals, r)
        return up - self.kappa - self.beta * (u - u0)

    def inferred(self, x: Tensor, z: Tensor, u: Tensor, u0: Tensor) -> Tensor:
        """The next u."""
        return bounded(u + bounded(self.eta * self.drive(x, z, u, u0)))


class IpVae(LearningRule[IpVaeConfig]):
    """Iterative Poisson VAE: predictive coding with spike counts, learned by local products.

    For tasks whose goal is the reconstruction of the whole example. It trains the last layer, a
    dense one, as the generative model; layers below it rest. Its answer is the decoded rates after
    T steps of inference with counts; probes read the rates of one with rates in their place.

    The authors (hadivafaii/IterativeVAE) learn by backpropagation through all steps and a relaxed
    Poisson distribution, `learning = "bptt"`, which learns eta and kappa too. Their code's KL is
    e^{u - u0} times the one here, which is exact; it anneals clamps and beta, decays weights and
    clips gradients, and this does not. The local form is not theirs: nothing crosses time, beta
    does not reach the weights, kappa sets the sparsity, and s has a floor.
    """

    name = "ip-vae"
    needs = "examples"
    quick: ClassVar[Mapping[str, object]] = {"steps": 8}
    stackable = frozenset({"eta", "kappa", "beta"})
    Config = IpVaeConfig
    citation = Citation(
        authors="Vafaii, Galor and Yates",
        title="Brain-like variational inference",
        year=2025,
        venue="NeurIPS",
        identifier="arXiv:2410.19315",
        equations="its code, main/layers.py; local learning is not the authors'",
    )

    @property
    def search_space(self) -> SearchSpace:
        if self.config.learning == "bptt":
            return {"optimizer.lr": LEARNING_RATE, "beta": LogUniform(0.3, 30.0)}
        return {"optimizer.lr": LEARNING_RATE, "kappa": LogUniform(0.05, 1.0)}

    @property
    def optimizer(self) -> OptimizerSpec | None:
        return OptimizerSpec(name="adam", lr=5e-3)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same"

    @property
    def plausibility(self) -> Plausibility:
        local = self.config.learning == "local"
        return Plausibility(
            weight_transport="transpose",
            phases=f"{self.config.steps} steps of inference, "
            + ("which learn all along" if local else "and back through them in time"),
            update_locking=not local,
            backward_locking=not local,
            local=local,
            needs_derivative="local",
            signed_errors="yes",
            auxiliary="a precision for every pixel, a first log rate for every unit",
            note="units send counts; errors are signed and exact",
        )

    def supports(self, net: Network) -> str | None:
        return super().supports(net) or why_not_generative(net)

    def rests(self, net: Network, step: int) -> Resting:
        """All below the last layer: what is inferred is not computed by them."""
        return Resting(frozenset(str(l + 1) for l in weighted_layers(net) if l + 1 < net.depth))

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        draws = self.config.steps * (self.config.inner + 1)
        each = () if self.config.learning == "local" else (self.config.arrivals,)
        shape = (draws, *each, batch_size, *net.layers[-1].in_shape)
        return {"counts": NoiseSpec(shape, "uniform")}

    def prediction_noise(self, net: Network) -> dict[str, NoiseSpec]:
        draws = self.config.steps * self.config.inner
        return {"counts": NoiseSpec((draws, *net.layers[-1].in_shape), "uniform")}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        start = -2 + 0.2 * stream.at("first log rates").normal(net.layers[-1].in_shape)
        aux = {"start": start, "log_sigma": start.new_zeros(net.layers[-1].out_shape)}
        if self.config.learning == "local":
            return State(aux, {})
        own = {"log_eta": self.config.eta, "log_kappa": self.config.kappa}
        learned = {name: start.new_full((1,), math.log(value)) for name, value in own.items()}
        return State({**aux, **learned}, {"step": start.new_zeros(())})

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        learn = self._local if self.config.learning == "local" else self._through_time
        x, memory = batch.x.flatten(1), state.memory
        grads, aux, u, z = learn(net, params, state, x, noise["counts"])
        model, rates = self._model(net, params, state), u.exp()
        largest = curvature(net.at(params, net.depth - 1)["weight"], rates.mean(0), model.sigma2)
        metrics = {
            "loss": net.loss.value(model.made(rates).output, batch.y),
            "image_r2": image_r2(x, model.made(z).output),
            "zeros": (z < 0.5).to(x).mean(),
            "rate": rates.mean(),
            "stiffness": (model.eta * largest).reshape(()),
        }
        memory = memory | {"step": memory["step"] + 1} if "step" in memory else memory
        rest = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
        return Update(rest | grads, {}, aux, memory, metrics)

    def _local(
        self, net: Network, params: Params, state: State, x: Tensor, uniform: Tensor
    ) -> tuple[Params, Params, Tensor, Tensor]:
        """Gradients of the last layer and of `aux`, with the last u and z."""
        steps, start, log_sigma = self.config.steps, state.aux["start"], state.aux["log_sigma"]
        model, draw = self._model(net, params, state), whole(uniform)
        path = []
        found = {n: torch.zeros_like(t) for n, t in net.at(params, net.depth - 1).items()}
        square = torch.zeros_like(log_sigma)
        for _, u in self._steps(model, start, x, draw):
            made = model.made(z := draw(u))
            r = model.error(x, made)
            own = net.layers[-1].weight_grad(made.residuals, -r / steps)
            found = {name: total + own[name] for name, total in found.items()}
            square = square + (x - made.output).square().mean(0) / steps
            path.append(u)
        aux = {
            "start": self.config.beta * (start.exp() - path[0].exp().mean(0)) / steps,
            "log_sigma": log_sigma_grad(log_sigma, self.config.least_sigma, square),
        }
        return net.join([found], first=net.depth - 1), aux, path[-1], z

    def _through_time(
        self, net: Network, params: Params, state: State, x: Tensor, uniform: Tensor
    ) -> tuple[Params, Params, Tensor, Tensor]:
        """The same of the mean free energy of all steps, with relaxed counts."""
        cooled = (state.memory["step"] / self.config.cooling).clamp(max=1)
        temperature = 1 + (_COLDEST - 1) * cooled

        def free_energy(top: Params, aux: Params) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            model = self._model(net, {**params, **top}, State(aux, {}))
            draw, total = relaxed(uniform, temperature), x.new_zeros(())
            for u0, u in self._steps(model, aux["start"], x, draw):
                made = model.made(z := draw(u))
                divergence = self.config.beta * kl(u, u0).sum(1)
                total = total + (cost(x, made.output, model.sigma2) + divergence).mean()
            return total / self.config.steps, (u, z)

        top = net.join([net.at(params, net.depth - 1)], first=net.depth - 1)
        (grads, aux), (u, z) = grad(free_energy, argnums=(0, 1), has_aux=True)(top, state.aux)
        return grads, aux, u, z

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        """By rates alone, without drawing."""
        return self._model(net, params, state).made(self._rates(net, params, state, x)).output

    def predict_with(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Tensor:
        draw = whole(noise["counts"].movedim(1, 0))
        rates = self._rates(net, params, state, x, draw)
        return self._model(net, params, state).made(rates).output

    def embed(self, net: Network, params: Params, state: State, x: Tensor, layer: int) -> Tensor:
        if layer != net.depth - 1:
            return super().embed(net, params, state, x, layer)
        return self._rates(net, params, state, x)

    def _rates(
        self, net: Network, params: Params, state: State, x: Tensor, draw: Draw = torch.exp
    ) -> Tensor:
        """e^{u_T}, by default in mean field."""
        model, x = self._model(net, params, state), x.flatten(1)
        *_, (_, u) = self._steps(model, state.aux["start"], x, draw)
        return u.exp()

    def _steps(
        self, model: Model, start: Tensor, x: Tensor, draw: Draw
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(u_{t-1}, u_t), T times."""
        u = start.expand(len(x), -1)
        for _ in range(self.config.steps):
            u0 = u
            for _ in range(self.config.inner):
                u = model.inferred(x, draw(u), u, u0)
            yield u0, u

    def _model(self, net: Network, params: Params, state: State) -> Model:
        own, aux = self.config, state.aux
        if own.learning == "local":
            sigma2 = variance(aux["log_sigma"], own.least_sigma)
            return Model(net, params, sigma2, own.eta, own.kappa, own.beta)
        sigma2 = (2 * _WIDEST * (aux["log_sigma"] / _WIDEST).tanh()).exp()
        return Model(net, params, sigma2, aux["log_eta"].exp(), aux["log_kappa"].exp(), own.beta)


def bounded(v: Tensor) -> Tensor:
    """c(v), softly below 10 and at or above -8."""
    return 10 - F.softplus(10 - v.clamp(min=-8))
