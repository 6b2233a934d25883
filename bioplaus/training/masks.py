"""The masks of a pruned network, of all replicas: what is zero at first, and what stays so."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bioplaus.learning.batching import stack, unstack
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.pruning import Pruning, kept, pruned
from bioplaus.training.tickets import Dense


class Masks:
    """None of them where nothing is pruned: then everything is as it is."""

    def __init__(
        self,
        pruning: Pruning | None,
        net: Network,
        seeds: Sequence[int],
        dense: Dense | None = None,
    ) -> None:
        """dense: what tickets are read from, where it is they that stay."""
        self._pruning, self._net, self._seeds, self._dense = pruning, net, seeds, dense
        self._params: Params = {}
        self._aux: Params = {}
        self._memory: Params = {}

    def initial(self, params: Params, seed: int) -> Params:
        """A seed's initial parameters, pruned."""
        if self._pruning is None:
            return params
        return pruned(params, self._of(self._pruning, params, seed))

    def _of(self, pruning: Pruning, params: Params, seed: int) -> Params:
        dense = self._dense(self._net, seed) if self._dense else None
        return pruning.masks(self._net, params, seed, dense)

    def of_state(self, params: Params, state: State) -> State:
        """The initial state, pruned where feedback weights are; both stacked. Asked for first."""
        if self._pruning is None:
            return state
        one = unstack(params, 0)
        each = [self._of(self._pruning, one, seed) for seed in self._seeds]
        self._params = {n: m.to(params[n].device) for n, m in stack(each).items()}
        self._aux, self._memory = self._pruning.state_masks(self._params, state)
        return State(self.fed(state.aux), self.remembered(state.memory))

    def grad(self, name: str, tensor: Tensor) -> Tensor:
        """A parameter's gradient, (R, ...)."""
        return kept(tensor, self._params[name]) if name in self._params else tensor

    def aux_grad(self, name: str, tensor: Tensor) -> Tensor:
        """An auxiliary parameter's gradient, (R, ...)."""
        return kept(tensor, self._aux[name]) if name in self._aux else tensor

    def fed(self, aux: Params) -> Params:
        """Auxiliary parameters."""
        return pruned(aux, self._aux)

    def remembered(self, memory: Params) -> Params:
        """Memory."""
        return pruned(memory, self._memory)
