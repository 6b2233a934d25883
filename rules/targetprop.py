"""Target propagation: each layer chases a target that inverses bring down from the top.

Notation: F_l(h) = f(W_l h + b_l) is a layer, g_l its inverse (learned, or exact).

    t_L = h_L - eta_t e_L
    t_{l-1} = g_l(t_l)                            (vanilla)
    t_{l-1} = h_{l-1} + g_l(t_l) - g_l(h_l)       (difference)
    d_l = D_l (h_l - t_l) / eta_t

Divided by eta_t, so that a step compares with backprop's.

Learned inverses, g_l(v) = f_{l-1}(V_l v + c_l), reconstruct noisy activity (default):
their Jacobian approaches the inverse of F_l's. Under the local difference reconstruction
loss they are g_l(v) = V_l f_l(v) + c_l, whose Jacobian approaches the transpose, and the
rule backprop: with W held, up to f_l' being taken at h_l in the place of a_l (no difference
for leaky relu; a relu at rest passes an error that would raise it, backprop none).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, NoiseSpec, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .inverse_learning import (
    descent,
    initial_inverse,
    l_drl_grad,
    learned_inverse,
    reconstruction_grad,
)
from .inverses import Inverse, exact_transport, why_not_invertible, why_targets_leave_range
from .orthogonality import OrthoForm, is_present, orthogonality_grad
from .refined_inverses import RefinedInverseRule, Shared, shared_grams


class TargetPropConfig(RuleConfig):
    inverse: Literal["learned", "exact"] = Field(
        "learned", description="learned: V_l and c_l; exact: the layer inverted"
    )
    difference: bool = Field(True, description="correct for what the inverse fails to explain")
    top: Literal["target", "gradient"] = Field(
        "target",
        description="gradient: the last layer learns by the true gradient and the one below "
        "gets its target from it (Lee et al. 2015)",
    )
    target_step: float = Field(
        0.1,
        gt=0,
        description="eta_t, how far the top target is moved; on digits 0.1 and 1 did alike on "
        "the validation split (Meulemans et al. 2020: 0.2195 on a batch's mean, 0.0017 an example)",
    )
    inverse_loss: Literal["reconstruction", "l-drl"] = Field(
        "reconstruction",
        description="what learned inverses minimise: reconstruction of noisy activity, or the "
        "local difference reconstruction loss (Ernoult et al. 2022)",
    )
    noise: float = Field(
        0.0837,
        ge=0,
        description="sigma of the noise added to h when inverses are learned (Meulemans et al. "
        "2020, DTP on MNIST)",
    )
    output_noise: float = Field(
        0.0837,
        ge=0,
        description="sigma of the noise added above the layer; l-drl only, whose minimum is the "
        "transpose where both are equal",
    )
    inverse_iterations: int = Field(
        1, ge=1, description="steps of the inverses per batch, each on fresh noise; l-drl only"
    )
    inverse_lr: float | None = Field(
        None,
        gt=0,
        description="learning rate of the learned inverses: by default 1.96e-3 of Adam for "
        "reconstruction (Meulemans et al. 2020), and for l-drl 1 of gradient descent: it comes "
        "to rest in some hundred steps, and averages the noise of as many batches",
    )
    ortho: float = Field(0.0, ge=0, description="strength of the orthogonality regulariser")
    ortho_form: OrthoForm = Field(
        "offdiag", description="offdiag: columns orthogonal; identity: W W^T = I"
    )

    @model_validator(mode="after")
    def _iterations_descend(self) -> Self:
        if self.inverse_iterations > 1 and self.inverse_loss != "l-drl":
            raise ValueError("inverse_iterations above 1 needs inverse_loss = l-drl")
        return self


class TargetProp(RefinedInverseRule[TargetPropConfig]):
    """Difference target propagation: targets come down through learned or exact inverses."""

    name = "targetprop"
    version = 2
    Config = TargetPropConfig
    citation = Citation(
        authors="Lee, Zhang, Fischer and Bengio",
        title="Difference target propagation",
        year=2015,
        venue="ECML PKDD",
        identifier="arXiv:1412.7525",
        equations="l-drl: Ernoult, Normandin, Moudgil, Spinney, Belilovsky, Rish, Richards and "
        "Bengio, ICML 2022, arXiv:2201.13415",
    )
    stackable = frozenset(["ortho"])

    @property
    def search_space(self) -> SearchSpace:
        """Learning rates of the network and of its learned inverses, which must keep up."""
        return {"optimizer.lr": LEARNING_RATE, "aux_optimizer.lr": Around(1.0)}

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
        """For learned inverses, which must keep up with the layers that they invert.

        Meulemans et al. (2020) use Adam at 2.8e-4 on MNIST. Over both digits tasks, of 1e-4,
        1.5e-4, 2e-4 and 2.8e-4 this one had the best validation accuracy; at 1e-3
        digits-square does not train.
        """
        return None if self.config.inverse == "exact" else OptimizerSpec(name="adam", lr=2e-4)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        if self.config.inverse == "exact":
            return None
        if self.config.inverse_loss == "l-drl":
            # plain descent, so that its one step is the batch's several
            return OptimizerSpec(name="sgd", lr=self._inverse_lr)
        return OptimizerSpec(name="adam", lr=self._inverse_lr)

    @property
    def _inverse_lr(self) -> float:
        default = 1.0 if self.config.inverse_loss == "l-drl" else 1.96e-3
        return self.config.inverse_lr or default

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if self.config.inverse == "exact":
            return why_not_invertible(net) or why_targets_leave_range(net)
        for l, layer in enumerate(net.layers[1:], start=2):
            if reason := layer.why_not_reversible():
                return f"layer {l}: {reason}"
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State({} if self.config.inverse == "exact" else initial_inverse(net, stream), {})

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        upper = list(enumerate(net.layers, start=1))[1:]
        if self.config.inverse == "exact":
            return {}
        if self.config.inverse_loss == "reconstruction":
            return {str(l): NoiseSpec((batch_size, *layer.in_shape)) for l, layer in upper}
        rows = self.config.inverse_iterations, batch_size
        inputs = {f"{l}.input": NoiseSpec((*rows, *layer.in_shape)) for l, layer in upper}
        outputs = {f"{l}.output": NoiseSpec((*rows, *layer.out_shape)) for l, layer in upper}
        return inputs | outputs

    def shared(self, fwd: ForwardPass) -> Shared:
        return shared_grams(fwd, self.config.ortho, self.config.ortho_form)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        if self.config.inverse == "exact":
            lower = self._exactly(fwd)
        else:
            lower = offset_by(fwd, self._learned(fwd), self.config.difference)
        return target_deltas(fwd, lower, self.config)

    def _exactly(self, fwd: ForwardPass) -> LowerOffset:
        """W_l^-1 (a_l - f^-1(h_l - o_l)); zero on units that layer l does not read."""
        refined = is_present(self.config.ortho)
        carry = exact_transport(fwd, partial(self.solver, fwd)) if refined else exact_transport(fwd)

        def lower(l: int, offset: Tensor) -> Tensor:
            step, activation = fwd.trace[l], fwd.net.layers[l].activation
            return carry(l, step.preactivation - activation.inverse(step.output - offset))

        return lower

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return self.inverse_metrics(fwd) if fwd.shared.solved else {}

    def _learned(self, fwd: ForwardPass) -> Inverse:
        return learned_inverse(fwd, "input" if self.config.inverse_loss == "l-drl" else "output")

    def penalty(self, fwd: ForwardPass) -> Params:
        form, grams = self.config.ortho_form, fwd.shared.grams
        return orthogonality_grad(fwd.net, fwd.params, self.config.ortho, form, grams)

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        if self.config.inverse == "exact":
            return {}
        parts = (self._inverse_grad(fwd, l) for l in range(1, fwd.net.depth))
        return fwd.net.join(parts, first=1)

    def _inverse_grad(self, fwd: ForwardPass, l: int) -> Params:
        if self.config.inverse_loss == "reconstruction":
            return reconstruction_grad(fwd, l, self.config.noise)
        below = self.config.noise * fwd.noise[f"{l + 1}.input"]
        above = self.config.output_noise * fwd.noise[f"{l + 1}.output"]
        return descent(
            fwd.net.at(fwd.state.aux, l),
            partial(l_drl_grad, fwd, l),
            zip(below, above, strict=True),
            self._inverse_lr,
        )


LowerOffset = Callable[[int, Tensor], Tensor]
"""(l, h_l - t_l) -> h_{l-1} - t_{l-1}, l from 0: an offset spares a cancellation."""


def offset_by(fwd: ForwardPass, inverse: Inverse, difference: bool) -> LowerOffset:
    """By any inverses, corrected for what they fail to explain or not."""

    def lower(l: int, offset: Tensor) -> Tensor:
        step = fwd.trace[l]
        explained = inverse(l, step.output) if difference else step.input
        return explained - inverse(l, step.output - offset)

    return lower


def target_deltas(fwd: ForwardPass, lower: LowerOffset, config: TargetPropConfig) -> list[Tensor]:
    """d_1 .. d_L for any way of targets down."""
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
            offset = lower(l, offset)
    return deltas[::-1]
