"""Layered rules: those that differ from backprop only in the post-synaptic vectors d_l."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from bioplaus.errors import PluginError
from bioplaus.learning.rule import Batch, C, LearningRule, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network, Trace
from bioplaus.network.shapes import Outputs


class ForwardPass(NamedTuple):
    """One batch's way up through one network: all that a layered rule works from."""

    net: Network
    params: Params
    state: State
    batch: Batch
    trace: Trace
    error: Outputs
    """e_L, the gradient of each example's loss at the output h_L, (N, n_L)."""
    noise: Params
    shared: Any = None
    """What `LayeredRule.shared` made of the rest."""


class LayeredRule(LearningRule[C]):
    """Rules that differ from backprop only in the post-synaptic vectors d_l.

    Every layer learns from the batch means of d_l h_{l-1}^T and d_l. They are in gradient
    sign, as torch has it: an optimizer subtracts them. Papers that write W += eta d h^T mean -d.

    Example:

        >>> from bioplaus import LayeredRule, Plausibility, RuleConfig
        >>> from bioplaus import adjoint_transport, backward_sweep
        >>> class MyBackprop(LayeredRule[RuleConfig]):
        ...     name = "my-backprop"
        ...     plausibility = Plausibility(
        ...         weight_transport="transpose", phases="one backward pass",
        ...         update_locking=True, backward_locking=True, local=False,
        ...         needs_derivative="transport", signed_errors="yes",
        ...     )
        ...
        ...     def deltas(self, fwd):
        ...         return backward_sweep(fwd, adjoint_transport(fwd, fwd.params))
        >>> MyBackprop.configured().plausibility.weight_transport
        'transpose'
    """

    @abstractmethod
    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        """d_1 .. d_L for each example; d_l has the shape of layer l's pre-activation."""

    def shared(self, fwd: ForwardPass) -> Any:
        """Work that several of the hooks below need; they find it as `fwd.shared`."""
        return None

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        """The gradients from the deltas, by default the batch means of d_l h_{l-1}^T and d_l."""
        return fwd.net.weight_grads(fwd.trace, deltas)

    def penalty(self, fwd: ForwardPass) -> Params:
        """Gradient of the rule's own regulariser; {} for none."""
        return {}

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        """Gradients of `state.aux`, for rules that learn auxiliary parameters."""
        return {}

    def next_memory(self, fwd: ForwardPass) -> Params:
        """The next `state.memory`, for rules whose memory changes."""
        return fwd.state.memory

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        """Scalars to record beside the loss."""
        return {}

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        trace = net.forward(params, batch.x)
        output = trace[-1].output
        error = net.loss.error(output, batch.y)
        fwd = ForwardPass(net, params, state, batch, trace, error, noise)
        fwd = fwd._replace(shared=self.shared(fwd))
        deltas = self.deltas(fwd)
        _check_deltas(self.name, deltas, trace)
        grads = self.weight_grads(fwd, deltas)
        return Update(
            grads=grads,
            penalty=self.penalty(fwd),
            aux_grads=self.aux_grads(fwd, deltas, grads),
            memory=self.next_memory(fwd),
            metrics={"loss": net.loss.value(output, batch.y), **self.metrics(fwd, deltas)},
        )


def _check_deltas(rule: str, deltas: object, trace: Trace) -> None:
    """PluginError unless there is a tensor for each layer, of its pre-activation's shape."""
    due = f"a list of {len(trace)} tensors, one for each layer from the first up"
    if not isinstance(deltas, list | tuple):
        raise PluginError(f"the rule {rule!r}: `deltas` returned a {_kind(deltas)}, due is {due}")
    if len(deltas) != len(trace):
        raise PluginError(f"the rule {rule!r}: `deltas` returned {len(deltas)}, due is {due}")
    for l, (delta, step) in enumerate(zip(deltas, trace, strict=True), 1):
        shape = tuple(step.preactivation.shape)
        if not isinstance(delta, Tensor):
            said = f"a {_kind(delta)}"
        elif tuple(delta.shape) != shape:
            said = f"of shape {tuple(delta.shape)}"
        elif delta.dtype != step.preactivation.dtype:
            said = f"of {delta.dtype}, and the network is of {step.preactivation.dtype}"
        else:
            continue
        raise PluginError(
            f"the rule {rule!r}: `deltas` has for layer {l} one {said}, due is a tensor of shape "
            f"{shape}, as its pre-activation"
        )


def _kind(value: object) -> str:
    return type(value).__name__
