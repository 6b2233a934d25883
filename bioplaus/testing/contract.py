"""Checks of `update` and its companions: pure, batched, of the right shapes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bioplaus.learning.batching import batched_update, unstack
from bioplaus.learning.hints import HINTS
from bioplaus.learning.prediction import (
    PredictionNoise,
    batched_predict,
    positions,
    predicted,
)
from bioplaus.learning.rule import State, Update
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.cases import BATCH, REPLICAS, Case, Inputs, copied, replica, stacked
from bioplaus.testing.check import check
from bioplaus.testing.comparing import EXACT, distance, identical, rel
from bioplaus.testing.failures import require
from bioplaus.testing.reach import reach
from bioplaus.testing.rounding import judge_rounding, rounded
from bioplaus.training.recording import record

MATCH = HINTS["do not match by name and shape"]
MIXED = (
    "replicas are mixed: look for an operation with a vmap rule of its own, or for something kept "
    "in the object between calls"
)


@contextmanager
def slow_fallbacks_raise() -> Iterator[None]:
    """Raise where vmap has no batching rule for an operation and loops over replicas."""
    torch._C._functorch._set_vmap_fallback_warning_enabled(True)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*performance drop.*")
        yield


@check("shapes", "An update matches what it updates: names, shapes, dtypes; all finite.", "case")
def shapes(case: Case) -> None:
    for dtype in (torch.float64, torch.float32):
        given = case.inputs(0, dtype)
        params, state = given[:2]
        result = case.update(given)
        require(isinstance(result, Update), f"update returned {type(result).__name__}", MATCH)
        penalised = {name: params[name] for name in result.penalty if name in params}
        _match("grads", result.grads, params)
        _match("penalty", result.penalty, penalised)
        _match("aux_grads", result.aux_grads, state.aux)
        _match("memory", result.memory, state.memory)
        require("loss" in result.metrics, "there is no metric 'loss'", HINTS["no metric 'loss'"])
        for name, metric in result.metrics.items():
            require(
                metric.shape == () and bool(metric.isfinite()),
                f"the metric {name} is not a finite scalar: {metric}",
                "return the batch's mean as a tensor of no dimensions",
            )


def _match(field: str, given: Params, due: Params) -> None:
    names = sorted(given.keys() ^ due.keys())
    require(not names, f"{field} has other names than are due: {', '.join(names)}", MATCH)
    for name, tensor in given.items():
        expected = due[name]
        require(
            tensor.shape == expected.shape,
            f"{field}[{name!r}] has the shape {tuple(tensor.shape)}, due is "
            f"{tuple(expected.shape)}",
            MATCH,
        )
        require(
            tensor.dtype == expected.dtype,
            f"{field}[{name!r}] is {tensor.dtype}, due is {expected.dtype}",
            "make new tensors from those given (x.new_zeros, torch.ones_like): their dtype stays",
        )
        require(
            bool(tensor.isfinite().all()),
            f"{field}[{name!r}] holds NaN or infinity",
            "look for a division by zero, a logarithm or an inverse that does not exist",
        )


@check("purity", "Inputs stay as they are, and no global random state is touched.", "case")
def purity(case: Case) -> None:
    given = case.inputs(0)
    before = copied(given)
    torch.manual_seed(0)
    generator = torch.get_rng_state()
    first = copied(case.update(given))
    changed = _changed(before, given)
    require(
        not changed,
        f"update changes its input in place: {', '.join(changed)}",
        "write x = x + y, not x += y, and use no method that ends in _ on an input",
    )
    require(
        torch.equal(torch.get_rng_state(), generator),
        "update draws from torch's global random generator",
        HINTS["called random operation"],
    )
    torch.manual_seed(1)
    require(
        identical(case.update(given), first),
        "two updates from the same inputs differ",
        "an update is a function of its arguments alone: no random numbers of its own, no "
        "counters in the object; what lasts belongs in `state.memory`",
    )


def _changed(before: Inputs, after: Inputs) -> list[str]:
    """Which tensors are not what they were, by name."""
    parts = {
        "params": (before[0], after[0]),
        "state.aux": (before[1].aux, after[1].aux),
        "state.memory": (before[1].memory, after[1].memory),
        "batch": (before[2]._asdict(), after[2]._asdict()),
        "noise": (before[3], after[3]),
    }
    return [
        f"{part}[{name!r}]"
        for part, (old, new) in parts.items()
        for name in old
        if name not in new or not identical(old[name], new[name])
    ]


@check("vmap", "Batched over replicas, an update is a loop over networks.", "case")
def vmap(case: Case) -> str:
    parts = [case.inputs(seed) for seed in range(REPLICAS)]
    with slow_fallbacks_raise():
        together = batched_update(case.rule, case.net)(*stacked(parts))
    largest, note = 0.0, ""
    for index, part in enumerate(parts):
        alone = case.update(part)
        found = distance(replica(together, index), alone)
        if found > EXACT:
            by_rounding = distance(case.update(rounded(part)), alone)
            judge_rounding(by_rounding, "the update")
            require(
                found <= 10 * by_rounding,
                f"replica {index} of {REPLICAS} gets another update than alone, by {found:.1e} "
                f"of its norm, where rounding explains {by_rounding:.1e}",
                MIXED,
            )
            note = ", which is rounding"
        largest = max(largest, found)
    return f"the same to {largest:.0e}{note}"


@check("prediction", "`predict` gives each example's outputs, and takes vmap.", "case")
def prediction(case: Case) -> None:
    parts = [case.inputs(seed) for seed in range(REPLICAS)]
    params, state, batch, _ = stacked(parts)
    x = batch.x[0]
    drawn = PredictionNoise(case.rule, case.net, range(REPLICAS), x.dtype, x.device)
    noise = drawn.each(positions(BATCH, x.device))
    with slow_fallbacks_raise():
        together = batched_predict(case.rule, case.net)(params, state, x, noise)
    due = (REPLICAS, BATCH, *case.net.layers[-1].out_shape)
    require(
        together.shape == due,
        f"predict gives the shape {tuple(together.shape[1:])}, due is {due[1:]}",
        "return one row of outputs for each example",
    )
    for index, part in enumerate(parts):
        own = unstack(noise, index)
        alone = predicted(case.rule, case.net, part[0], part[1], x, own)
        require(
            rel(together[index], alone) <= EXACT,
            f"replica {index} predicts other outputs than alone",
            "replicas are mixed in `predict`",
        )
        first = {name: tensor[:1] for name, tensor in own.items()}
        require(
            rel(predicted(case.rule, case.net, part[0], part[1], x[:1], first), alone[:1]) <= EXACT,
            "an example's outputs are others where it is predicted by itself",
            "examples are mixed in `predict`: evaluations are cut into batches as memory allows, "
            "so answer each example from itself and its own row of the noise",
        )


@check("independence", "A replica that breaks leaves the others alone, bit for bit.", "case")
def independence(case: Case) -> None:
    for poison in (float("nan"), 0.0):
        given = stacked([case.inputs(seed) for seed in range(REPLICAS)])
        step = batched_update(case.rule, case.net)
        clean = step(*given)
        for tensor in given[0].values():
            tensor[1] = poison
        broken = step(*given)
        for index in (0, 2):
            require(
                identical(replica(broken, index), replica(clean, index)),
                f"with replica 1's parameters all {poison}, replica {index} gets another update",
                MIXED,
            )
        require(
            not identical(replica(broken, 1), replica(clean, 1)),
            f"with all parameters {poison} the update is the same",
            "the update does not depend on the parameters",
        )


@check("trace", "A trace of the update replays bit for bit on other numbers.", "configuration")
def trace(case: Case) -> None:
    first, second = (
        stacked([case.inputs(seed) for seed in seeds]) for seeds in ((0, 1, 2), (3, 4, 5))
    )
    step = batched_update(case.rule, case.net)
    shape = pytree.tree_structure(first)

    def flat(*tensors: Tensor) -> list[Tensor]:
        return pytree.tree_leaves(step(*pytree.tree_unflatten(tensors, shape)))

    traced = record(flat, pytree.tree_leaves(first))
    for given in (first, second):
        tensors = pytree.tree_leaves(given)
        require(
            identical(traced(*tensors), flat(*tensors)),
            "a recorded update gives other numbers when it is replayed",
            "no number may enter the update but through its arguments: no branch on values, no "
            "tensors kept in the object",
        )


@check("resume", "A new object of the rule goes on from the state, bit for bit.", "configuration")
def resume(case: Case) -> None:
    parts = [case.inputs(seed) for seed in range(4)]
    params, state = parts[0][:2]
    through = case.rule
    for step, (_, _, batch, noise) in enumerate(parts):
        ours = through.update(case.net, copied(params), copied(state), batch, noise)
        fresh = case.rule.update(case.net, copied(params), copied(state), batch, noise)
        require(
            identical(ours, fresh),
            f"after {step} steps an object of the rule goes on differently from a new one",
            "what lasts between steps belongs in `state.memory`, not in the object: a run that "
            "is interrupted starts again from the state alone",
        )
        params = _descended(params, ours.grads)
        state = State(_descended(state.aux, ours.aux_grads), ours.memory)


def _descended(params: Params, grads: Params) -> Params:
    return {name: tensor - 0.01 * grads[name] for name, tensor in params.items()}


@check("refresh", "`refresh` keeps the state's names, shapes and dtypes.", "case")
def refresh(case: Case) -> None:
    params, state, batch, _ = case.inputs(0)
    fresh = case.rule.refresh(case.net, params, state, batch, Stream(0).at("refresh"))

    def facts(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
        return tensor.shape, tensor.dtype

    require(
        pytree.tree_map(facts, state) == pytree.tree_map(facts, fresh),
        "refresh returns a state of other names, shapes or dtypes",
        "return a State with the same tensors, only their values renewed",
    )


@check("objective", "The rule's own objective, if there is one, is a scalar.", "case")
def objective(case: Case) -> None:
    params, state, batch, noise = case.inputs(0)
    value = case.rule.objective_at(case.net, params, state, batch, noise)
    require(
        value is None or value.shape == (),
        "objective is not a scalar",
        "return the batch's mean, or None where the rule descends the task's loss",
    )


CHECKS = (
    shapes,
    reach,
    purity,
    resume,
    vmap,
    prediction,
    independence,
    trace,
    refresh,
    objective,
)
