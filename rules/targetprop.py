"""Target propagation: each layer chases a target that inverses bring down from the top.

Notation: F_l(h) = f(W_l h + b_l) is a layer, g_l its inverse (learned, or exact).

    t_L = h_L - eta_t e_L
    t_{l-1} = g_l(t_l)                            (vanilla)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)       (difference)
    d_l = D_l (h_l - t_l) / eta_t

Divided by eta_t, so that a step compares with backprop's. With exact inverses,
eta_t = 1 and the squared error, the whole target is inverted: the TP baseline of the
GAIT-prop authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor

from bioplaus.layers import Init, Layer, Params
from bioplaus.network import Network
from bioplaus.optim import OptimizerSpec
from bioplaus.profile import Citation, Plausibility
from bioplaus.rule import ForwardPass, LayeredRule, NoiseSpec, RuleConfig, State
from bioplaus.streams import Stream

from .gaitprop import why_not_invertible
from .orthogonality import OrthoForm, orthogonality_grad
from .sweep import adjoint_transport

Inverse = Callable[[int, Tensor], Tensor]
"""(l, v) -> g_l(v): the activity below layer l, counted from 0, that explains v."""


class TargetPropConfig(RuleConfig):
    inverse: Literal["learned", "exact"] = Field(
        "learned", description="learned: g_l(v) = f(V_l v + c_l); exact: the layer inverted"
    )
    difference: bool = Field(True, description="correct for what the inverse fails to explain")
    top: Literal["target", "gradient"] = Field(
        "target",
        description="gradient: the last layer learns by the true gradient and the one below "
        "gets its target from it (Lee et al. 2015)",
    )
    target_step: float = Field(0.1, gt=0, description="eta_t, how far the top target is moved")
    noise: float = Field(
        0.1, ge=0, description="sigma of the noise added to h when inverses are learned"
    )
    inverse_lr: float = Field(
        1e-3, gt=0, description="learning rate of Adam for the learned inverses"
    )
    ortho: float = Field(0.0, ge=0, description="strength of the orthogonality regulariser")
    ortho_form: OrthoForm = Field(
        "offdiag", description="offdiag: columns orthogonal; identity: W W^T = I"
    )


class TargetProp(LayeredRule[TargetPropConfig]):
    """Difference target propagation: targets come down through learned or exact inverses."""

    name = "targetprop"
    Config = TargetPropConfig
    citation = Citation(
        authors="Lee, Zhang, Fischer and Bengio",
        title="Difference target propagation",
        year=2015,
        venue="ECML PKDD",
        identifier="arXiv:1412.7525",
        equations="exact inverses, the whole target: the TP of Ahmad et al., arXiv:2006.06438",
    )

    @property
    def plausibility(self) -> Plausibility:
        exact = self.config.inverse == "exact"
        return Plausibility(
            weight_transport="inverse"
            if exact
            else "transpose"
            if self.config.top == "gradient"
            else "none",
            phases="one target pass" + ("" if exact else ", and inverse training on noise"),
            update_locking=True,
            backward_locking=True,
            local=True,
            needs_derivative="local" if self.config.top == "target" else "transport",
            signed_errors="activity difference",
            auxiliary="exact inverses of the weights" if exact else "inverse weights V_l, c_l",
        )

    @property
    def optimizer(self) -> OptimizerSpec | None:
        if self.config.inverse == "exact":  # run.py of the GAIT-prop authors
            return OptimizerSpec(name="adam", lr=1e-5, betas=(0.9, 0.99))
        return None

    @property
    def aux_optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=self.config.inverse_lr)

    def supports(self, net: Network) -> str | None:
        if self.config.inverse == "exact":
            return why_not_invertible(net)
        for l, layer in enumerate(net.layers[1:], start=2):
            if reason := layer.why_not_reversible():
                return f"layer {l}: {reason}"
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if self.config.inverse == "exact":
            return State({}, {})
        init = Init("xavier_normal")
        parts = (
            reverse_layer(net, l).init(stream.at("inverse", l + 1), init)
            for l in range(1, net.depth)
        )
        return State(aux=net.join(parts, first=1), memory={})

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        if self.config.inverse == "exact":
            return {}
        return {
            str(l + 1): NoiseSpec((batch_size, *net.layers[l].in_shape))
            for l in range(1, net.depth)
        }

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        inverse = exact_inverse(fwd) if self.config.inverse == "exact" else learned_inverse(fwd)
        return target_deltas(fwd, inverse, self.config)

    def penalty(self, net: Network, params: Params) -> Params:
        return orthogonality_grad(net, params, self.config.ortho, self.config.ortho_form)

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        if self.config.inverse == "exact":
            return {}
        parts = (reconstruction_grad(fwd, l, self.config.noise) for l in range(1, fwd.net.depth))
        return fwd.net.join(parts, first=1)


def target_deltas(fwd: ForwardPass, inverse: Inverse, config: TargetPropConfig) -> list[Tensor]:
    """d_1 .. d_L for any inverses; works on h_l - t_l, which spares a cancellation."""
    deltas = []
    transpose = adjoint_transport(fwd, fwd.params)
    offset = config.target_step * fwd.error
    for l in reversed(range(fwd.net.depth)):
        step = fwd.trace[l]
        delta = step.slope * offset / config.target_step
        deltas.append(delta)
        if l == 0:
            break
        if config.top == "gradient" and l == fwd.net.depth - 1:
            offset = config.target_step * transpose(l, delta)
        else:
            explained = inverse(l, step.output) if config.difference else step.input
            offset = explained - inverse(l, step.output - offset)
    return deltas[::-1]


def exact_inverse(fwd: ForwardPass) -> Inverse:
    """g_l(v) = W_l^{-1} (f^{-1}(v) - b_l); units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        layer = fwd.net.layers[l]
        a = layer.activation.inverse(v)
        return layer.preimage(fwd.net.at(fwd.params, l), fwd.trace[l].residuals, a)

    return inverse


def learned_inverse(fwd: ForwardPass) -> Inverse:
    """g_l(v) = f_{l-1}(V_l v + c_l); units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        part = reverse_layer(fwd.net, l).trace(fwd.net.at(fwd.state.aux, l), v).output
        return fwd.net.layers[l].write(fwd.trace[l].input, part)

    return inverse


def reverse_layer(net: Network, l: int) -> Layer:
    """The layer that computes g_l, with the activation of the layer it reconstructs."""
    return net.layers[l].reverse(net.layers[l - 1].activation)


def reconstruction_grad(fwd: ForwardPass, l: int, sigma: float) -> Params:
    """Gradient of 1/2 <||g_l(F_l(xi)) - xi||^2>, xi = h_{l-1} + sigma noise, at V_l and c_l.

    F_l is held: no gradient reaches W_l.
    """
    reverse = reverse_layer(fwd.net, l)
    xi = fwd.trace[l].input + sigma * fwd.noise[str(l + 1)]
    above = fwd.net.step(fwd.params, l, xi).output
    back = reverse.trace(fwd.net.at(fwd.state.aux, l), above)
    residual = back.output - fwd.net.layers[l].read(xi)
    return reverse.weight_grad(back.residuals, back.slope * residual)
