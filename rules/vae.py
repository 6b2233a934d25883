"""Variational autoencoder with a Gaussian code: the reference for rules that infer theirs.

The last layer is the generative model, out = f(W z + b); the layers below it are the encoder, the
last of them its mean mu, and a second head V beside it the log variance v:

    v = C tanh(a_v / C),   a_v = V h_{L-2} + c,   z = mu + e^{v/2} noise,
    F = sum (x - out)^2 / (2 s^2) + log s + beta sum (mu^2 + e^v - v - 1) / 2

It descends F by backpropagation:

    d_L = f' (out - x) / s^2,   g = W^T d_L,   d_{L-1} = D_{L-1} * (g + beta mu),
    d_v = (1 - (v / C)^2) * (g * noise * e^{v/2} + beta (e^v - 1)) / 2,
    e_{L-2} = W_{L-1}^T d_{L-1} + V^T d_v,   C = 10
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import (
    AuxOptimizer,
    Batch,
    LearningRule,
    NoiseSpec,
    RuleConfig,
    State,
    Update,
)
from bioplaus.learning.search_space import LEARNING_RATE, LogUniform, SearchSpace
from bioplaus.network.layer import Dense, LayerTrace, Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.random_streams import Stream

from .gaussian_pixels import cost, image_r2, log_sigma_grad, variance, why_not_generative

_WIDEST = 10.0
"""C: |v| stays below it, and e^v finite."""


class VaeConfig(RuleConfig):
    beta: float = Field(1.0, ge=0, description="weight of the code's KL from a standard normal")
    least_sigma: float = Field(0.1, gt=0, description="floor of the pixels' s")


class Pass(NamedTuple):
    """A forward pass with a drawn code."""

    encoder: Trace
    """Of the layers below the last one: its end is mu."""
    log_variance: Tensor
    """v, (N, K)."""
    decoder: LayerTrace
    """Of the last layer: its output is (N, M)."""


class Vae(LearningRule[VaeConfig]):
    """Variational autoencoder: backpropagation of the evidence bound, with a drawn Gaussian code.

    The reference beside `ip-vae`, whose generative model it shares: the last layer, and a learned
    variance for each pixel with the same floor. For tasks whose goal is the reconstruction of the
    whole example. Its answer and what probes read are of the mean of the code.
    """

    name = "vae"
    needs = "examples"
    Config = VaeConfig
    stackable = frozenset({"beta"})
    citation = Citation(
        authors="Kingma and Welling",
        title="Auto-encoding variational Bayes",
        year=2014,
        venue="ICLR",
        identifier="arXiv:1312.6114",
        equations="3, 7, 10; appendix B",
    )

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "beta": LogUniform(0.1, 10.0)}

    @property
    def optimizer(self) -> OptimizerSpec | None:
        return OptimizerSpec(name="adam", lr=1e-3)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same"

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases="one backward pass",
            update_locking=True,
            backward_locking=True,
            local=False,
            needs_derivative="transport",
            signed_errors="yes",
            auxiliary="a head for the code's variance, a precision for every pixel, a separate "
            "linear backward network",
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net) or why_not_generative(net):
            return reason
        if net.depth < 3 or type(net.layers[-2]) is not Dense:
            return "its code is a dense layer above another layer, below the last one"
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {"code": NoiseSpec((batch_size, *net.layers[-1].in_shape))}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        """The second head starts small: every variance near 1."""
        drawn = _head(net).init(stream.at("log variance"), net.initial)
        log_sigma = drawn["bias"].new_zeros(net.layers[-1].out_shape)
        head = {"head.weight": 0.1 * drawn["weight"], "head.bias": drawn["bias"]}
        return State({**head, "log_sigma": log_sigma}, {})

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        x, least, aux = batch.x.flatten(1), self.config.least_sigma, state.aux
        sigma2 = variance(aux["log_sigma"], least)
        made = self._pass(net, params, state, batch.x, noise["code"])
        mu, v, out = made.encoder[-1].output, made.log_variance, made.decoder.output
        decoded = made.decoder.slope * (out - x) / sigma2
        top = net.depth - 1
        g = net.layers[top].adjoint(net.at(params, top), made.decoder.residuals, decoded)
        d_v = (g * noise["code"] * (v / 2).exp() + self.config.beta * (v.exp() - 1)) / 2
        d_v = (1 - (v / _WIDEST).square()) * d_v
        deltas = [decoded, made.encoder[-1].slope * (g + self.config.beta * mu)]
        from_head = d_v @ aux["head.weight"]
        for l in reversed(range(1, top)):
            error = net.layers[l].adjoint(net.at(params, l), made.encoder[l].residuals, deltas[-1])
            error = error + from_head if l == top - 1 else error
            deltas.append(net.layers[l - 1].pull(made.encoder[l - 1], error))
        head = _head(net).weight_grad((made.encoder[-1].input,), d_v)
        square = (x - out).square().mean(0)
        metrics = {
            "loss": net.loss.value(net.step(params, top, mu).output, batch.y),
            "free_energy": self._free_energy(made, x, sigma2),
            "divergence": _divergence(made).mean(),
            "image_r2": image_r2(x, out),
        }
        aux_grads = {
            **{f"head.{name}": grad for name, grad in head.items()},
            "log_sigma": log_sigma_grad(aux["log_sigma"], least, square),
        }
        grads = net.weight_grads((*made.encoder, made.decoder), deltas[::-1])
        return Update(grads, {}, aux_grads, state.memory, metrics)

    def objective_at(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Tensor:
        """F, with the step's noise in the code."""
        made = self._pass(net, params, state, batch.x, noise["code"])
        sigma2 = variance(state.aux["log_sigma"], self.config.least_sigma)
        return self._free_energy(made, batch.x.flatten(1), sigma2)

    def _free_energy(self, made: Pass, x: Tensor, sigma2: Tensor) -> Tensor:
        bound = cost(x, made.decoder.output, sigma2) + self.config.beta * _divergence(made)
        return bound.mean()

    def _pass(self, net: Network, params: Params, state: State, x: Tensor, noise: Tensor) -> Pass:
        encoder, h = [], x
        for l in range(net.depth - 1):
            encoder.append(net.step(params, l, h))
            h = encoder[-1].output
        head = {name: state.aux[f"head.{name}"] for name in ("weight", "bias")}
        drive, _ = _head(net).forward(head, encoder[-1].input)
        v = _WIDEST * (drive / _WIDEST).tanh()
        z = h + (v / 2).exp() * noise
        return Pass(tuple(encoder), v, net.step(params, net.depth - 1, z))


def _divergence(made: Pass) -> Tensor:
    """KL of the code from a standard normal, (N,)."""
    v = made.log_variance
    return (made.encoder[-1].output.square() + v.exp() - v - 1).sum(1) / 2


def _head(net: Network) -> Dense:
    """What reads the log variance where layer L-1 reads the mean."""
    mean = net.layers[-2]
    return Dense(mean.in_shape[0], mean.out_shape[0])
