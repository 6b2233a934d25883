"""Deep feedback control: a controller drives the network to a target, and layers learn the way.

The output's target is t_L = h_L - lambda e_L. A leaky integral controller u pushes every layer with
weights through feedback weights Q_l until the output is there. Its steady state, linearised at
the forward pass (the authors' non-dynamical inversion), is

    u = (sum_l J_l Q_l + alpha I)^-1 (t_L - h_L),   J_l = dh_L / da_l
    v_l = W_l r_{l-1} + b_l + Q_l u,   r_l = f(v_l),   r_0 = x

    d_l = (f(v_l - Q_l u) - f(v_l)) / lambda,   gW_l = <d_l r_{l-1}^T>

Divided by lambda, so that a step compares with backprop's. Where Q_l = J_l^T, u spreads the target
as the pseudo-inverse of the Jacobian does: a Gauss-Newton target for all layers together.

Q_l learns from noise, with no target: layers are perturbed by sigma eps_l, the output moves by
delta ~ sum_l J_l sigma eps_l, and

    grad Q_l = -<eps_l delta^T> / sigma + gamma Q_l

so that Q_l settles at the mean of J_l^T / gamma. Q_L stays the identity.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.func import vmap

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
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.linalg import solve
from bioplaus.numerics.random_streams import Stream

from .chains import shaken_copies
from .output_feedback import product_alignment, products, random_output_feedback
from .perturbation import weighted_layers


class DeepFeedbackControlConfig(RuleConfig):
    target_step: float = Field(
        0.08, gt=0, description="lambda, how far the output's target is; the authors' on MNIST"
    )
    leak: float = Field(
        1e-3, gt=0, description="alpha, the leak of the controller: damping of the inversion"
    )
    learn_from: Literal["rates", "potentials"] = Field(
        "rates",
        description="rates: the difference of f with and without control; potentials: -Q_l u alone",
    )
    start: Literal["product", "random"] = Field(
        "product",
        description="of the feedback weights: the transposed product of the forward weights above "
        "at their start, the authors' default; or random",
    )
    sigma: float = Field(
        0.01, gt=0, description="standard deviation of the noise that feedback weights learn from"
    )
    feedback_decay: float = Field(
        1.0, gt=0, description="gamma, decay of the feedback weights; 1 makes them settle at J_l^T"
    )


class DeepFeedbackControl(LearningRule[DeepFeedbackControlConfig]):
    """Deep feedback control: all layers move together so that the output meets its target.

    Steady state only: no dynamics are run. In their place the inversion is given the network's
    Jacobian, which a network under control needs not know, since it answers by itself. The
    authors train the feedback weights alone for some epochs first; here they start from the
    forward weights' product and learn from the first step on. From a random start the
    inversion is ill-posed where outputs are many, and training may never begin. The metric
    "residual" is how far, relative to lambda e_L, the controlled output stays from its target,
    "feedback_alignment" the smallest cosine over the layers of Q_l with (W_L .. W_{l+1})^T.

    Compared with the authors' code (meulemansalex/deep_feedback_control, tpdi_networks.py) on
    9-12-7-4 tanh: the updates "nonlinear_difference" and "voltage_difference" after
    `non_dynamical_inversion`, which carry a factor 2 lambda there, agree to 1e-15, the feedback
    gradient of its "special_controller" to 2e-16.
    """

    name = "deep-feedback-control"
    version = 2
    Config = DeepFeedbackControlConfig
    citation = Citation(
        authors="Meulemans, Tristany Farinha, Garcia Ordóñez, Vilimelis Aceituno, Sacramento and "
        "Grewe",
        title="Credit assignment in neural networks through deep feedback control",
        year=2021,
        venue="NeurIPS 34",
        identifier="arXiv:2106.07887",
        equations="steady state, sections 2 and 3; its code, tpdi_networks.py",
    )
    stackable = frozenset({"target_step", "leak"})

    @property
    def search_space(self) -> SearchSpace:
        return {
            "optimizer.lr": LEARNING_RATE,
            "aux_optimizer.lr": Around(1.0),
            "leak": Around(1.5),
        }

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="a controlled relaxation, and a phase of noise for the feedback weights",
            update_locking=True,
            backward_locking=False,
            local=True,
            needs_derivative="no",
            signed_errors="activity difference",
            auxiliary="feedback weights Q_l from a controller to every layer",
            note="the steady state is solved with the network's Jacobian, in the place of dynamics",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="adam", lr=1e-3)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return OptimizerSpec(name="adam", lr=1e-3)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net) or shaken_copies(net, "the controller would push"):
            return reason
        if net.layers[-1].multiply_adds() == 0:
            return "its last layer has no weights, and so no potential to control"
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {
            str(l + 1): NoiseSpec((batch_size, *net.layers[l].out_shape))
            for l in weighted_layers(net)
        }

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        """Q_l of the layers below the last; random ones have the variance 2 / (n_l + n_L)."""
        if self.config.start == "product":
            return State(aux=products(net, params), memory={})
        return State(aux=random_output_feedback(net, stream), memory={})

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        forward = net.forward(params, batch.x)
        output = forward[-1].output
        wanted = -self.config.target_step * net.loss.error(output, batch.y)
        feedback = self._feedback(net, state, output)
        control = steady_control(net, params, forward, feedback, wanted, self.config.leak)
        pushes = {l: (control @ q.T) for l, q in feedback.items()}
        controlled = ascend(net, params, batch.x, pushes)
        missed = controlled[-1].output - (output + wanted)
        return Update(
            grads=net.weight_grads(controlled, self._deltas(net, controlled, pushes)),
            penalty={},
            aux_grads=self._aux_grads(net, params, state, batch, output, noise),
            memory=state.memory,
            metrics={
                "loss": net.loss.value(output, batch.y),
                "residual": missed.norm() / wanted.norm().clamp(min=1e-30),
                **product_alignment(net, params, state.aux),
            },
        )

    def _feedback(self, net: Network, state: State, output: Tensor) -> dict[int, Tensor]:
        """Q_l of every layer with weights, (n_l, n_L); the identity at the top."""
        found = {l: state.aux[f"{l + 1}.feedback"] for l in weighted_layers(net)[:-1]}
        n = output.shape[1]
        return found | {net.depth - 1: torch.eye(n, dtype=output.dtype, device=output.device)}

    def _deltas(self, net: Network, controlled: Trace, pushes: dict[int, Tensor]) -> list[Tensor]:
        deltas = []
        for l, step in enumerate(controlled):
            if l not in pushes:
                deltas.append(torch.zeros_like(step.preactivation))
                continue
            push = pushes[l].reshape(step.preactivation.shape)
            if self.config.learn_from == "rates":
                basal = net.layers[l].activation(step.preactivation - push)
                deltas.append((basal - step.output) / self.config.target_step)
            else:
                deltas.append(-push / self.config.target_step)
        return deltas

    def _aux_grads(
        self,
        net: Network,
        params: Params,
        state: State,
        batch: Batch,
        output: Tensor,
        noise: Params,
    ) -> Params:
        """Of the feedback weights, from noise."""
        sigma = self.config.sigma
        layers = weighted_layers(net)
        shaken = {l: sigma * noise[str(l + 1)].flatten(1) for l in layers}
        moved = ascend(net, params, batch.x, shaken)[-1].output - output
        grads = {}
        for l in layers[:-1]:
            name = f"{l + 1}.feedback"
            seen = noise[str(l + 1)].flatten(1).T @ moved / (sigma * len(moved))
            grads[name] = self.config.feedback_decay * state.aux[name] - seen
        return grads


def ascend(net: Network, params: Params, x: Tensor, pushes: dict[int, Tensor]) -> Trace:
    """A forward pass in which layers' potentials are pushed, by (N, n_l) each."""
    trace: list[LayerTrace] = []
    h = x
    for l, layer in enumerate(net.layers):
        step = net.step(params, l, h)
        if l in pushes:
            v = step.preactivation + pushes[l].reshape(step.preactivation.shape)
            step = step._replace(preactivation=v, output=layer.activation(v))
        trace.append(step)
        h = step.output
    return tuple(trace)


def steady_control(
    net: Network,
    params: Params,
    forward: Trace,
    feedback: dict[int, Tensor],
    wanted: Tensor,
    leak: float,
) -> Tensor:
    """u (N, n_L) with (sum_l J_l Q_l + alpha I) u = wanted, for each example."""
    outputs = wanted.shape[1]
    units = torch.eye(outputs, dtype=wanted.dtype, device=wanted.device)

    def rows(unit: Tensor) -> Tensor:
        """One row of sum_l J_l Q_l, (N, n_L): that output's derivatives, carried down."""
        error, total = unit.expand_as(wanted), torch.zeros_like(wanted)
        for l in reversed(range(net.depth)):
            delta = forward[l].slope * error
            if l in feedback:
                total = total + delta.flatten(1) @ feedback[l]
            if l > 0:
                error = net.layers[l].adjoint(net.at(params, l), forward[l].residuals, delta)
        return total

    matrix = vmap(rows, out_dims=1)(units) + leak * units
    control: Tensor = vmap(solve)(matrix, wanted[:, :, None])
    return control[:, :, 0]
