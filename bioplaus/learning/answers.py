"""What a rule answers where it is asked for updates, state, noise, variants, rest: all checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from bioplaus.errors import PluginError, shown
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import LearningRule
from bioplaus.learning.search_space import Around, Dimension, SearchSpace
from bioplaus.learning.update import NoiseSpec, Resting, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.system.blame import blaming

AnyRule = LearningRule[Any]
_NOISE = "return {'name': bioplaus.NoiseSpec((sizes, ...), 'normal')}, or 'uniform'"
_STATE = "return bioplaus.State(aux, memory), two dicts of tensors"
_RESTING = "return bioplaus.Resting(params=frozenset(names), aux=frozenset(names))"


def state_of(rule: AnyRule, net: Network, params: Params, stream: Stream) -> State:
    """`rule.init_state`; PluginError where that is no state of tensors."""
    state = rule.init_state(net, params, stream)
    if not isinstance(state, State):
        raise _wrong(rule, "init_state", state, _STATE)
    for part in state:
        if not isinstance(part, Mapping):
            raise _wrong(rule, "init_state", state, _STATE)
        for name, tensor in part.items():
            if not isinstance(tensor, Tensor):
                kept = f"a {type(tensor).__name__} as {shown(name, 60)}"
                raise PluginError(f"the rule {rule.name!r}: `init_state` has {kept}; {_STATE}")
    return state


def noise_of(rule: AnyRule, net: Network, rows: int) -> dict[str, NoiseSpec]:
    """`rule.noise`; PluginError where that does not say shapes and kinds by name."""
    specs = rule.noise(net, rows)
    if not isinstance(specs, Mapping):
        raise _wrong(rule, "noise", specs, _NOISE)
    for name, spec in specs.items():
        whole = isinstance(spec, NoiseSpec) and isinstance(spec.shape, tuple | list)
        whole = whole and all(isinstance(size, int) and size >= 0 for size in spec.shape)
        if not whole or spec.kind not in ("normal", "uniform"):
            said = shown(" ".join(repr(spec).split()), 60)
            raise PluginError(
                f"the rule {rule.name!r}: `noise` says {shown(name, 60)} is {said}; {_NOISE}"
            )
    return dict(specs)


def rule_from(before: AnyRule, answer: object) -> AnyRule:
    """What `watched`, `adapted` or `redone` gave; PluginError where that is no rule."""
    if not isinstance(answer, LearningRule):
        raise _wrong(
            before, "adapted", answer, "return self, or another object of the class, as do "
            "`watched` and `redone`"
        )  # fmt: skip
    return answer


def variant_at(rule: AnyRule, step: int) -> AnyRule:
    """`rule.variant`; PluginError where that gave no rule."""
    variant: object = rule.variant(step)
    if not isinstance(variant, LearningRule):
        raise _wrong(rule, "variant", variant, "return self, or another object of the class")
    return variant


def resting_at(rule: AnyRule, net: Network, step: int, params: Params, state: State) -> Resting:
    """`rule.rests`, in full names; PluginError where it is no `Resting`, or names what is not."""
    with blaming(f"the rule {rule.name!r} failed in `rests(net, step)`", rule):
        said: object = rule.rests(net, step)
    if not isinstance(said, Resting):
        raise _wrong(rule, "rests", said, _RESTING)
    if not any(said) and None not in said:
        return said
    return Resting(
        _names(rule, "params", said.params, params), _names(rule, "aux", said.aux, state.aux)
    )


def space_of(rule: AnyRule, optimizer: OptimizerSpec) -> SearchSpace:
    """`rule.search_space_under`; PluginError where its space has no names and ranges."""
    declared: object = rule.search_space
    if not isinstance(declared, Mapping):
        raise _wrong(
            rule, "search_space", declared, "return {'optimizer.lr': bioplaus.LEARNING_RATE}, say"
        )
    for name, dimension in declared.items():
        if not isinstance(dimension, Dimension | Around):
            said = f"{shown(name, 60)} as {shown(repr(dimension), 60)}"
            raise PluginError(
                f"the rule {rule.name!r}: `search_space` has {said}; ranges are Around, "
                "LogUniform, Uniform or Choice of bioplaus.learning.search_space"
            )
    return dict(rule.search_space_under(optimizer))


def check_update(rule: AnyRule, params: Params, state: State, update: Update) -> None:
    """PluginError where an update does not match what it updates, by name and shape."""
    if not isinstance(update, Update):
        raise PluginError(
            f"the rule {rule.name!r}: `update` returned a {type(update).__name__}, due is a "
            "bioplaus.Update(grads, penalty, aux_grads, memory, metrics)"
        )
    pairs = [
        ("grads", update.grads, params, True),
        ("penalty", update.penalty, params, False),
        ("aux_grads", update.aux_grads, state.aux, True),
        ("memory", update.memory, state.memory, True),
    ]
    for field, given, due, complete in pairs:
        _check_tensors(rule, field, given)
        wrong = given.keys() - due.keys() or (due.keys() - given.keys() if complete else set())
        wrong = wrong or {name for name in given if given[name].shape != due[name].shape}
        if wrong:
            raise PluginError(
                f"the rule {rule.name!r} returned {field} that do not match by name and shape: "
                f"{', '.join(sorted(wrong))}"
            )
    _check_tensors(rule, "metrics", update.metrics)
    if "loss" not in update.metrics:
        raise PluginError(f"the rule {rule.name!r} returned no metric 'loss'")
    for name, metric in update.metrics.items():
        if metric.shape != ():
            raise PluginError(
                f"the rule {rule.name!r} returned the metric {name!r} of shape "
                f"{tuple(metric.shape)}: return the batch's mean, a tensor of no dimensions"
            )


def _check_tensors(rule: AnyRule, field: str, given: object) -> None:
    """PluginError unless it is a dict of tensors: vmap takes nothing else."""
    kinds = [type(given)] if not isinstance(given, Mapping) else list(map(type, given.values()))
    wrong = [kind.__name__ for kind in kinds if not issubclass(kind, Tensor)]
    if wrong:
        name = f" a {wrong[0]} in" if isinstance(given, Mapping) else f" a {wrong[0]} as"
        raise PluginError(
            f"the rule {rule.name!r} returned{name} {field}, due is a dict of tensors"
        )


def _names(rule: AnyRule, field: str, said: object, due: Iterable[str]) -> frozenset[str]:
    if not isinstance(said, frozenset | set | tuple | list):
        raise PluginError(
            f"the rule {rule.name!r}: `rests` gives {shown(repr(said), 60)} as {field}; {_RESTING}"
        )
    found: set[str] = set()
    for name in said:
        meant = {full for full in due if full == name or full.startswith(f"{name}.")}
        if not meant:
            raise PluginError(
                f"the rule {rule.name!r}: `rests` names {shown(str(name), 60)}, which is none of "
                f"its {field}: {', '.join(due) or 'there are none'}"
            )
        found |= meant
    return frozenset(found)


def _wrong(rule: AnyRule, asked: str, given: object, due: str) -> PluginError:
    said = shown(" ".join(repr(given).split()), 60)
    return PluginError(f"the rule {rule.name!r}: `{asked}` returned {said}; {due}")
