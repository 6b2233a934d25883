"""The conformance kit finds planted faults, and says what is wrong and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bioplaus.learning.batching import Rule
from bioplaus.testing import CHECKS, RuleConformance, check_rule
from tests.helpers import faulty_rules as faulty

FAULTS = [
    (
        faulty.mutates_its_parameters,
        "purity",
        r"changes its input in place: params\['1.weight'\]",
        "x \\+",
    ),
    (faulty.mutates_its_batch, "purity", r"in place: batch\['x'\]", r"x \+= y"),
    (faulty.uses_torch_rand, "purity", "draws from torch's global random generator", "`noise`"),
    (faulty.uses_torch_rand, "vmap", "called random operation", "`noise`"),
    (faulty.mixes_replicas, "vmap", "replica 0 of 3 gets another update than alone", "mixed"),
    (faulty.mixes_replicas, "independence", "all nan, replica 0 gets another update", "mixed"),
    (faulty.mixes_replicas, "replicas", "after 50 steps the parameters differ", "mixed"),
    (faulty.LiesAboutTransport, "plausibility", "declared weight_transport='none', but", "declare"),
    (
        faulty.LiesAboutTheDerivative,
        "plausibility",
        "declared needs_derivative='no', but",
        "declare",
    ),
    (faulty.OwnWeights, "plausibility", "it is 'none'", "declare"),
    (
        faulty.has_the_wrong_sign,
        "direction",
        "points against the gradient.*angle 180°",
        "gradient sign",
    ),
    (faulty.has_the_wrong_sign, "digits", "the loss does not fall", "sign right"),
    (
        faulty.has_the_wrong_sign_below,
        "direction",
        "layer 1's update points against",
        "gradient sign",
    ),
    (faulty.changes_shapes, "shapes", r"has the shape \(1, 6, 6\), due is \(6, 6\)", "same shape"),
    (faulty.leaves_a_layer_out, "shapes", "other names than are due: 1.weight", "same name"),
    (faulty.makes_float32, "shapes", "is torch.float32, due is torch.float64", "dtype"),
    (faulty.calls_item, "vmap", r"calling \.item\(\)", r"no \.item\(\)"),
    (faulty.branches_on_a_value, "vmap", "data-dependent control flow", "torch.where"),
    (faulty.reports_no_loss, "shapes", "no metric 'loss'", "metrics="),
    (faulty.divides_by_zero, "shapes", "NaN or infinity", "division by zero"),
    (
        faulty.raises,
        "shapes",
        r"raised KeyError \(line \d+ of faulty_rules.py\): '3.weight'",
        "line named",
    ),
    (faulty.KeepsACounter, "resume", "goes on differently from a new one", "state.memory"),
    (faulty.NoOptimizer, "optimizers", "1.extra have no optimizer", "aux_optimizer"),
    (faulty.OptionsUndescribed, "options", "strength has no description", "Field"),
    (
        faulty.RaisesInSupports,
        "networks",
        r"RuntimeError \(line \d+ of faulty_rules.py\)",
        "line named",
    ),
    (faulty.NoCitation, "description", "there is no citation", r"Citation\(authors="),
    (faulty.SupportsNothing, "networks", "it wants a hundred layers", "networks ="),
]


@pytest.mark.parametrize(
    ("rule", "check", "reason", "hint"), FAULTS, ids=lambda v: getattr(v, "name", None)
)
def test_a_planted_fault_is_found(rule: type[Rule], check: str, reason: str, hint: str) -> None:
    verdict = check_rule(rule, only=(check,))
    assert not verdict.passed
    (finding,) = verdict.findings
    assert re.search(reason, finding.note, flags=re.DOTALL), finding.note
    assert re.search(hint, finding.hint), finding.hint
    text = verdict.markdown()
    assert f"# {rule.name}: failed" in text and "**failed**" in text
    assert f"Reason: {finding.note}" in text and f"Hint: {finding.hint}" in text


def test_an_honest_rule_passes_all_of_it() -> None:
    verdict = check_rule(faulty.Honest, "this file")
    assert verdict.passed, verdict.markdown()
    assert [finding.check for finding in verdict.findings] == list(CHECKS)
    assert "0 failed" in verdict.markdown() and "this file" in verdict.markdown()
    seen = {finding.check.name: finding.note for finding in verdict.findings}
    # it is backprop: the gradient itself, at the price of the gradient
    assert "0°, 0°, 0°, 0°" in seen["direction"]
    assert "1 times the operations of backprop" in seen["cost"]


class TestHonest(RuleConformance):
    rule = faulty.Honest


def test_the_pytest_class_fails_where_the_kit_does(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from bioplaus.testing import RuleConformance
        from tests.helpers.faulty_rules import Honest, has_the_wrong_sign

        class TestGood(RuleConformance):
            rule = Honest

        class TestBad(RuleConformance):
            rule = has_the_wrong_sign
        """
    )
    pytester.syspathinsert(str(Path(__file__).parents[2]))
    done = pytester.runpytest("-k", "direction or purity")
    done.assert_outcomes(passed=11, failed=1)
    done.stdout.fnmatch_lines(["*Failure: layer *against the gradient*", "*Hint: updates are*"])
