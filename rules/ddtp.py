"""Direct difference target propagation: the output's target goes straight to every layer.

Notation: J_l = dh_L / dh_l, of an example. The output's target is t_L = h_L - eta_t e_L.
DDTP-linear maps it to every hidden layer with weights by a matrix Q_l, with the
difference correction, so that what Q_l fails to explain at rest cancels:

    t_l = h_l + Q_l t_L - Q_l h_L = h_l - eta_t Q_l e_L
    d_l = D_l (h_l - t_l) / eta_t = D_l (Q_l e_L),   d_L = D_L e_L

Divided by eta_t, so that a step compares with backprop's; since Q_l is linear, eta_t cancels.

Q_l learns with no target, by the difference reconstruction loss: layer l is shaken by sigma eps,
the output moves by delta, and delta has to tell eps:

    L_l = 1/2 <||Q_l delta / sigma - eps||^2> + gamma / 2 ||Q_l||^2

whose minimum, of one example as sigma -> 0, is J_l^T (J_l J_l^T + gamma I)^-1: targets are then
damped Gauss-Newton's, of minimum norm as gamma -> 0. Over many examples it is one matrix
for all of them.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, NoiseSpec, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .chains import shaken_copies
from .output_feedback import product_alignment, random_output_feedback
from .perturbation import weighted_layers


class DirectDifferenceTargetPropConfig(RuleConfig):
    noise: float = Field(
        0.0907,
        gt=0,
        description="sigma of the noise that feedback weights learn from; the authors' on MNIST",
    )
    feedback_decay: float = Field(
        7.5e-5,
        ge=0,
        description="gamma, decay of the feedback weights and damping of the targets; the "
        "authors' on MNIST, 5.8e-7 of a loss that they divide by half of 256 units",
    )


class DirectDifferenceTargetProp(LayeredRule[DirectDifferenceTargetPropConfig]):
    """DDTP-linear: one learned matrix from the output to each layer, targets as Gauss-Newton's.

    The authors train the feedback weights alone for six epochs first, and one more after each
    epoch; here they learn from the first step on, beside the network. Their target of an
    output with an activation is at its potential, through the activation's inverse; here it
    is at h_L. On a linear output the two are one.

    Compared with the authors' code (meulemansalex/theoretical_framework_for_target_propagation,
    `DDTPMLPNetwork` with linear feedback) on 9-12-7-4 tanh: updates, which carry a factor
    2 eta_t there, and feedback gradients, divided by half of the layer's units, agree to 7e-15.
    Its last hidden layer has no bias.

    The metric "feedback_alignment" is the smallest cosine over the layers of Q_l with
    (W_L .. W_{l+1})^T, which a pseudo-inverse has where singular values are alike.
    "reconstruction" is the mean of ||Q_l delta / sigma - eps||^2 / ||eps||^2 over the layers.
    It cannot be below 1 - n_L / n_l of a layer: so few outputs do not tell all of its noise.
    """

    name = "ddtp"
    Config = DirectDifferenceTargetPropConfig
    citation = Citation(
        authors="Meulemans, Carzaniga, Suykens, Sacramento and Grewe",
        title="A theoretical framework for target propagation",
        year=2020,
        venue="NeurIPS 33",
        identifier="arXiv:2006.14331",
        equations="DDTP-linear and the difference reconstruction loss; its code, "
        "direct_feedback_networks.py",
    )

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "aux_optimizer.lr": Around(1.0)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="one target pass, and a phase of noise for the feedback weights",
            update_locking=True,
            backward_locking=False,
            local=True,
            needs_derivative="local",
            signed_errors="activity difference",
            auxiliary="feedback weights Q_l from the output to every layer",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        """The best validation accuracy over both digits tasks, of 1e-4, 2e-4, 3e-4 and 1e-3.

        At 1e-3 digits-square does not train: feedback does not keep up.
        """
        return OptimizerSpec(name="adam", lr=2e-4)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        """Of 1e-3 and 1e-2 the better on the digits' validation split."""
        return OptimizerSpec(name="adam", lr=1e-2)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if reason := shaken_copies(net, "noise on its output would shake"):
            return reason
        if weighted_layers(net)[-1:] != [net.depth - 1]:
            return "its last layer has no weights to learn by the loss"
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {
            str(l + 1): NoiseSpec((batch_size, *net.layers[l].out_shape))
            for l in weighted_layers(net)[:-1]
        }

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        """Random Q_l, of the variance 2 / (n_l + n_L), as the authors'."""
        return State(aux=random_output_feedback(net, stream), memory={})

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        found = [step.preactivation.new_zeros(step.preactivation.shape) for step in fwd.trace]
        found[-1] = fwd.trace[-1].slope * fwd.error
        for l in weighted_layers(fwd.net)[:-1]:
            error = fwd.error @ fwd.state.aux[f"{l + 1}.feedback"].T
            found[l] = fwd.trace[l].slope * error.reshape(fwd.trace[l].output.shape)
        return found

    def shared(self, fwd: ForwardPass) -> dict[int, tuple[Tensor, Tensor]]:
        """Of each layer l with feedback, what its noise does at the output, delta / sigma (N, n_L),
        and by how much Q_l fails to tell the noise, Q_l delta / sigma - eps (N, n_l)."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        sigma, output = self.config.noise, fwd.trace[-1].output
        for l in weighted_layers(fwd.net)[:-1]:
            eps = fwd.noise[str(l + 1)]
            h = fwd.trace[l].output + sigma * eps
            for k in range(l + 1, fwd.net.depth):
                h = fwd.net.step(fwd.params, k, h).output
            moved = (h - output) / sigma
            told = moved @ fwd.state.aux[f"{l + 1}.feedback"].T
            found[l] = moved, told - eps.flatten(1)
        return found

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        decay, found = self.config.feedback_decay, {}
        for l, (moved, missed) in fwd.shared.items():
            name = f"{l + 1}.feedback"
            found[name] = missed.T @ moved / len(moved) + decay * fwd.state.aux[name]
        return found

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        shares = [
            missed.square().sum() / fwd.noise[str(l + 1)].square().sum()
            for l, (_, missed) in fwd.shared.items()
        ]
        if not shares:
            return {}
        alike = product_alignment(fwd.net, fwd.params, fwd.state.aux)
        return {"reconstruction": sum(shares[1:], shares[0]) / len(shares), **alike}
