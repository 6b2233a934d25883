"""`check` tells one failure for one cause, in the author's words, and says why it skips."""

from __future__ import annotations

import re
from typing import Any, Self

import pytest
from torch import Tensor

from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.rule import Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.task import read_task
from bioplaus.testing import NETWORKS, check_rule
from bioplaus.testing.cases import cases
from tests.helpers import faulty_rules as faulty
from tests.helpers.faulty_rules import Honest

SOME = {name: NETWORKS[name] for name in ("rectangular", "convolutional")}


class Unmade(Honest):
    """A rule that cannot be made."""

    name = "unmade"

    def __init__(self) -> None:
        pass


class NewObjects(Honest):
    """A rule that makes itself anew at each step."""

    name = "new-objects"

    def variant(self, step: int) -> Self:
        return type(self)(self.config)


class Classes(Honest):
    """A rule that predicts classes."""

    name = "classes"

    def predict(self, net: Network, params: Params, state: Any, x: Tensor) -> Tensor:
        return net.output(params, x).argmax(-1)


class NoUpdate(Honest):
    """A rule that returns pairs."""

    name = "no-update"

    def update(self, *given: Any) -> Update:
        return given[1], {}  # type: ignore[return-value]


class NoState(Honest):
    """A rule whose state fails."""

    name = "no-state"

    def init_state(self, *given: Any) -> Any:
        raise LookupError("no such state")


class Differences(Honest):
    """Backprop, with a finite difference in the place of f'."""

    name = "differences"

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        deltas: list[Tensor] = []
        error, step = fwd.error, 1e-4
        for l in reversed(range(fwd.net.depth)):
            f = fwd.net.layers[l].activation
            a = fwd.trace[l].preactivation
            slope = (f(a + step) - f(a - step)) / (2 * step)
            deltas.insert(0, slope * error)
            weights = fwd.net.at(fwd.params, l)
            error = fwd.net.layers[l].adjoint(weights, fwd.trace[l].residuals, deltas[0])
        return deltas


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        (faulty.raises, "shapes"),
        (faulty.changes_shapes, "shapes"),
        (faulty.mutates_its_parameters, "purity"),
        (faulty.uses_torch_rand, "purity"),
        (faulty.calls_item, "vmap"),
        (faulty.has_the_wrong_sign, "direction"),
        (faulty.KeepsACounter, "resume"),
        (faulty.SupportsNothing, "networks"),
        (faulty.RaisesInSupports, "networks"),
        (Unmade, "class"),
        (NewObjects, "variants"),
        (Classes, "prediction"),
        (NoUpdate, "shapes"),
        (NoState, "optimizers"),
        (dict, "class"),
    ],
)
def test_one_cause_is_one_failure(rule: type[Rule], check: str) -> None:
    verdict = check_rule(rule, networks=SOME)
    assert [finding.check.name for finding in verdict.failures] == [check], verdict.markdown()
    for finding in verdict.findings:
        if finding.status == "skipped":
            known = ("not tried: ", "fails as ", "torch sees no CUDA", "it supports none of")
            assert finding.note.startswith(known), finding.note


def test_lines_are_the_authors() -> None:
    for rule in (NoState, faulty.raises, faulty.calls_item):
        (finding,) = check_rule(rule, networks=SOME).failures
        assert re.search(r"\(line \d+ of (test_one_cause|faulty_rules).py\)", finding.note)


def test_rounding_is_not_called_mixing() -> None:
    only = ("vmap", "replicas")
    verdict = check_rule(Differences, networks={"rectangular": NETWORKS["rectangular"]}, only=only)
    assert "mixed" not in verdict.markdown()
    assert verdict.passed, verdict.markdown()


def test_a_loss_that_rises_may_have_too_large_a_step_and_units_without_bounds() -> None:
    (finding,) = check_rule(faulty.has_the_wrong_sign, networks=SOME, only=("digits",)).failures
    assert "too small, or too large; are the units bounded?" in finding.hint


def test_a_task_of_ones_own() -> None:
    task = read_task("digits-mlp")
    (case, *_) = cases(Honest, SOME, task)
    assert case.task is task
    verdict = check_rule(Honest, networks=SOME, only=("cost",), task=task)
    assert verdict.findings[0].note.startswith("digits-mlp: ")
    conv = read_task("digits-sigmoid")
    refused = check_rule(faulty.SupportsNothing, networks=SOME, only=("cost",), task=conv)
    assert (
        "it cannot train on digits-sigmoid: it wants a hundred layers" in refused.findings[0].note
    )


def test_a_skipped_measurement_says_what_is_so() -> None:
    from bioplaus.plugins import registry

    rule = registry.load("rule", "equilibrium-propagation")
    (finding,) = check_rule(rule, only=("plausibility",)).findings
    assert finding.status == "skipped" and "relax" not in finding.note
    assert "a LearningRule does not" in finding.note
