"""Many seeds at once: parameters stacked on a first axis, and rules batched over it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.errors import PluginError
from bioplaus.learning.answers import check_update, state_of
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, RuleConfig, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.running_statistics import initial_statistics, moved_statistics
from bioplaus.numerics.random_streams import Stream, random_normal, random_uniform

Rule = LearningRule[RuleConfig]
"""Any rule, whatever its options."""


@dataclass(frozen=True)
class Replica:
    """One of several that train together: alike but for numbers."""

    seed: int
    rule: Rule
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None


_CACHED_ACTIVITIES = 2**18

DRAWS = {"normal": random_normal, "uniform": random_uniform}


def stack(parts: Sequence[Params]) -> Params:
    """One dict of tensors (R, ...) from R dicts of tensors."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def unstack(params: Mapping[str, Tensor], index: int) -> Params:
    """Replica `index` of a stacked dict, as views."""
    return {name: tensor[index] for name, tensor in params.items()}


def apart(tensors: Params, owned: Iterable[Tensor]) -> Params:
    """The tensors, contiguous, and copied where they share storage with an owned one.

    torch's fused optimizers on the CPU read a gradient's memory in order, whatever its
    strides: a slice or a transpose would silently be taken for another gradient.
    """
    taken = {tensor.untyped_storage().data_ptr() for tensor in owned} if tensors else set()
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        if tensor.untyped_storage().data_ptr() in taken
        else tensor.contiguous()
        for name, tensor in tensors.items()
    }


def cast(params: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device) -> Params:
    """Copies in another precision, on a device."""
    return {name: t.to(device=device, dtype=dtype, copy=True) for name, t in params.items()}


def initial(
    rule: Rule,
    net: Network,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    changed: Callable[[Params, int], Params] = lambda params, seed: params,
) -> tuple[Params, State]:
    """Seed's parameters and rule state: drawn in float64 on the CPU, then cast.

    The parameters depend on the seed and the network alone, not on the rule; running statistics
    are among them, which no rule sees. changed: what becomes of them before the rule sees them.
    """
    stream = Stream(seed)
    params = changed(net.init(stream.at("parameters")), seed)
    state = state_of(rule, net, params, stream.at("state"))
    moved = State(cast(state.aux, dtype, device), cast(state.memory, dtype, device))
    return cast(params | initial_statistics(net), dtype, device), moved


def stacked_initial(
    rules: Rule | Sequence[Rule],
    net: Network,
    seeds: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    changed: Callable[[Params, int], Params] = lambda params, seed: params,
) -> tuple[Params, State]:
    """`initial` for all seeds, stacked; of one rule, or of one for each."""
    each = [rules] * len(seeds) if isinstance(rules, LearningRule) else rules
    drawn = (initial(r, net, s, dtype, device, changed) for r, s in zip(each, seeds, strict=True))
    params, states = zip(*drawn, strict=True)
    state = State(stack([s.aux for s in states]), stack([s.memory for s in states]))
    return stack(params), state


class NoiseSource:
    """Each seed's own noise, as a function of the step: no state, no order of drawing."""

    def __init__(
        self,
        specs: Mapping[str, NoiseSpec],
        seeds: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        purpose: str = "noise",
    ) -> None:
        self._specs = dict(specs)
        self._dtype = dtype
        self._keys = {
            name: torch.stack([Stream(seed).at(purpose, name).key for seed in seeds]).to(device)
            for name in specs
        }

    def at(self, step: int | Tensor) -> Params:
        """The noise of one step, stacked: name -> (R, *spec.shape)."""
        return {
            name: DRAWS[spec.kind](self._keys[name], step, spec.shape).to(self._dtype)
            for name, spec in self._specs.items()
        }

    def each(self, positions: Tensor) -> Params:
        """The noise at several positions, int64 (N,), each as `at`: name -> (R, N, *spec.shape)."""
        found = {}
        for name, spec in self._specs.items():
            keys = self._keys[name][:, None].expand(-1, len(positions), -1)
            found[name] = DRAWS[spec.kind](keys, positions, spec.shape).to(self._dtype)
        return found


def batched_update(
    rule: Rule, net: Network, options: Params | None = None
) -> Callable[[Params, State, Batch, Params], Update]:
    """`rule.update` over stacked parameters, state, batches and noise.

    Of the noise, what layers want (`Network.uniform_shapes`) stands beside the parameters; without
    it they do as in a prediction. So do normalisations over the batch whose running statistics are
    among the parameters; without them they go by the batch.

    options: those in which the replicas differ, (R,) each, in the place of the rule's.
    """
    statistics = initial_statistics(net).keys()

    def one(params: Params, state: State, batch: Batch, noise: Params, options: Params) -> Update:
        drawn, own = apart_from_layers(noise, net.uniform_shapes(1))
        update = _with(rule, options).update(net, params | drawn, state, batch, own)
        learned = {name: p for name, p in params.items() if name not in statistics}
        check_update(rule, learned, state, update)
        return update

    def together(params: Params, state: State, batch: Batch, noise: Params) -> Update:
        # a random call inside a rule would be one draw for all replicas: let it raise
        batched = vmap(one, randomness="error", chunk_size=_replicas_at_once(net, batch.x))
        before = _versions(params, state, batch)
        update: Update = batched(params, state, batch, noise, options or {})
        after = _versions(params, state, batch)
        if changed := [name for name in before if after[name] != before[name]]:
            raise PluginError(
                f"the rule {rule.name!r} changes {', '.join(changed[:3])} in place inside "
                "`update`: write x = x + y, not x += y or x.add_(y)"
            )
        return update

    return together


def batched_statistics(net: Network) -> Callable[[Params, Params, Tensor, Params], Params]:
    """`moved_statistics` over stacked parameters, statistics, inputs and noise."""

    def one(params: Params, statistics: Params, x: Tensor, noise: Params) -> Params:
        drawn, _ = apart_from_layers(noise, net.uniform_shapes(1))
        return moved_statistics(net, params | drawn, statistics, x)

    def together(params: Params, statistics: Params, x: Tensor, noise: Params) -> Params:
        if not statistics:
            return {}
        batched = vmap(one, randomness="error", chunk_size=_replicas_at_once(net, x))
        found: Params = batched(params, statistics, x, noise)
        return found

    return together


def apart_from_layers(noise: Params, layers: Container[str]) -> tuple[Params, Params]:
    """What goes beside the parameters, by the names of what layers draw, and the rule's own."""
    drawn = {name: t for name, t in noise.items() if name in layers}
    return drawn, {name: t for name, t in noise.items() if name not in layers}


def _versions(params: Params, state: State, batch: Batch) -> dict[str, int]:
    """How often each tensor that a rule is handed was written to, as torch counts."""
    handed = {**params, **state.aux, **state.memory, **batch._asdict()}
    return {
        name: tensor._version
        for name, tensor in handed.items()
        if isinstance(tensor, Tensor) and not tensor.is_inference()
    }


def _with(rule: Rule, options: Params) -> Rule:
    """The rule with tensors for some of its options."""
    if not options:
        return rule
    changed = copy.copy(rule)
    changed.config = rule.config.model_copy(update=options)
    return changed


def differing_options(each: Sequence[Replica]) -> dict[str, list[float]]:
    """The stackable options in which the replicas differ, with each one's value."""
    values = {
        name: [float(getattr(r.rule.config, name)) for r in each]
        for name in sorted(each[0].rule.stackable)
    }
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def _replicas_at_once(net: Network, x: Tensor) -> int | None:
    """How many replicas a step takes together, None for all.

    A layer that goes through them one by one anyway gains nothing from the others, and
    loses the caches, once a replica's activities fill them: measured on the CPU, a step
    of mnist-conv with 16 seeds is 14 % faster one by one, one of digits-conv 3 times slower.
    """
    if x.device.type != "cpu" or not any(layer.one_by_one for layer in net.layers):
        return None
    activities = x.shape[1] * sum(prod(layer.out_shape) for layer in net.layers)
    return 1 if activities > _CACHED_ACTIVITIES else None
