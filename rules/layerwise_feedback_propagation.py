"""Layer-wise feedback propagation: a reward is shared out as in layer-wise relevance propagation.

With the reward r_L = -a_L * e_L at the top (under cross-entropy, a_L (onehot - softmax)),

    rho_l = r_l / a_l,   r_{l-1} = h_{l-1} * (W_l^T rho_l)
    grad W_l = -|W_l| * <rho_l h_{l-1}^T>,   grad b_l = -|b_l| * <rho_l>

and r_l passes an activation function unchanged. As h_l / a_l = f(a_l) / a_l, the
vectors d_l = -rho_l are backprop's with f(a) / a in place of f'(a), and for relu, leaky
relu and identity the two are the same: the rule is then backprop with every gradient
scaled by the size of its own parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.rule import RuleConfig
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network


class LayerwiseFeedbackPropagation(LayeredRule[RuleConfig]):
    """Layer-wise feedback propagation: gradients gated by |theta|, errors carried by f(a) / a.

    What is zero stays zero: biases that start at zero never move, and a weight changes
    sign only by overshooting. The authors stabilise the division with 1e-6, sum over
    the batch and clip the norm at 3; here a unit with a_l = 0 gets no reward, and the
    batch is averaged.
    """

    name = "layerwise-feedback-propagation"
    citation = Citation(
        authors="Weber, Berend, Weckbecker, Binder, Wiegand, Samek and Lapuschkin",
        title="Efficient and flexible neural network training through layer-wise feedback "
        "propagation",
        year=2025,
        venue="Transactions on Machine Learning Research",
        identifier="arXiv:2308.12053",
        equations="LFP-epsilon with epsilon = 0",
    )
    published = (
        Published(
            metric="cifar10 test accuracy",
            value=0.8244,
            note="VGG-like network, best epoch; 0.8402 with the gradient",
            source="output of the authors' notebook",
        ),
    )

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases="one backward pass",
            update_locking=True,
            backward_locking=True,
            local=True,
            needs_derivative="no",
            signed_errors="yes",
            auxiliary="division by each unit's own potential",
            note="the error is a reward, shared out in proportion to contributions",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="sgd", lr=0.1, momentum=0.9)  # the authors' code, all experiments

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        for l, layer in enumerate(net.layers, start=1):
            if not layer.activation.zero_at_zero:
                return f"layer {l}: {layer.activation} is not 0 at 0, so that f(a) / a has a pole"
        return None

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        *hidden, top = fwd.trace
        steps = [step._replace(slope=_quotient(step)) for step in hidden]
        rewarded = fwd._replace(trace=(*steps, top._replace(slope=torch.ones_like(top.slope))))
        return backward_sweep(rewarded, adjoint_transport(rewarded, fwd.params))

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        grads = super().weight_grads(fwd, deltas)
        return {name: fwd.params[name].abs() * grad for name, grad in grads.items()}


def _quotient(step: LayerTrace) -> Tensor:
    """f(a) / a; 0 where a = 0, as f(0) = 0."""
    a = step.preactivation
    return step.output / torch.where(a == 0, 1, a)
