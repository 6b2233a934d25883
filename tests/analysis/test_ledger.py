"""The ledger of claims: a status is what the intervals say, by hand."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bioplaus import tasks
from bioplaus.analysis.ledger import Claim, Finding, judge, read_ledger
from bioplaus.cli import main
from bioplaus.plugins import registry
from bioplaus.records.schema import Record
from tests.helpers.records import make_record

VALUE = dict(says="s", source="s", identifier="i", task="t")


def records(rule: str, accuracies: list[float], label: str = "") -> list[Record]:
    return [
        make_record(task="t", rule=rule, seed=seed, test_accuracy=a, label=label, cell=rule + label)
        for seed, a in enumerate(accuracies)
    ]


def status(claim: Claim, *found: list[Record]) -> Finding:
    return judge([claim], [record for group in found for record in group])[0]


# mean 97.0, standard deviation 1: Student's t for n = 5 gives 2.776 / sqrt(5) = 1.2415
FIVE = [0.96, 0.96, 0.97, 0.98, 0.98]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(97.0, "reproduced"), (98.24, "reproduced"), (98.25, "refuted"), (95.75, "refuted")],
)
def test_a_value_is_reproduced_where_the_interval_holds_it(value: float, expected: str) -> None:
    finding = status(Claim(rule="a", value=value, **VALUE), records("a", FIVE))
    assert finding.status == expected
    assert finding.measured == "97.00 [95.76, 98.24]" and finding.seeds == 5


def test_other_configurations_and_rules_say_nothing_of_it() -> None:
    claim = Claim(rule="a", value=97.0, **VALUE)
    assert status(claim).status == "not run"
    assert status(claim, records("b", FIVE)).status == "not run"
    assert status(claim, records("a", FIVE, "lr=3")).status == "not run"
    assert status(claim, records("a", FIVE[:1])).status == "not run"
    assert status(claim, records("a", FIVE, "epochs=3")).status == "reproduced"


@pytest.mark.parametrize(
    ("shift", "spread", "expected"),
    [
        (0.0, 0.001, "reproduced"),
        (0.02, 0.001, "refuted"),
        (-0.02, 0.001, "refuted"),
        (0.0, 0.02, "undecided"),
    ],
)
def test_equally_good_is_the_interval_of_the_difference_within_the_margin(
    shift: float, spread: float, expected: str
) -> None:
    claim = Claim(rule="a", against="b", margin=0.5, **VALUE)
    theirs = [0.90, 0.91, 0.92, 0.93, 0.94]
    ours = [a + shift + spread * d for a, d in zip(theirs, (-1, 1, 0, 1, -1), strict=True)]
    finding = status(claim, records("a", ours), records("b", theirs))
    assert finding.status == expected and "against b" in finding.measured


def test_another_protocol_is_not_comparable_whatever_was_measured() -> None:
    claim = Claim(rule="a", value=97.0, differs="fewer epochs", **VALUE)
    assert status(claim).status == "not comparable"
    finding = status(claim, records("a", FIVE))
    assert finding.status == "not comparable" and finding.measured


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": 9.0},
        {"task": "t"},
        {"task": "t", "against": "b"},
        {"task": "t", "value": 9.0, "margin": 1.0},
    ],
)
def test_a_claim_that_could_not_be_decided_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"task|margin|value"):
        Claim.model_validate({"rule": "a", "says": "s", "source": "s", "identifier": "i", **wrong})


def test_every_rule_has_a_claim_or_none_was_found() -> None:
    claims, without = read_ledger()
    named = {claim.rule for claim in claims}
    assert not named & set(without)
    assert set(registry.names("rule")) <= named | set(without)
    assert all(claim.source and claim.identifier for claim in claims)


def test_a_claim_that_names_a_task_could_be_tested_here() -> None:
    for claim in read_ledger()[0]:
        if claim.task is not None:
            assert claim.task in tasks.names() and claim.rule in registry.names("rule"), claim.says


def test_the_command_says_what_would_decide_a_claim(tmp_path: object) -> None:
    done = CliRunner().invoke(main, ["claims", "--rule", "gaitprop", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "NOT RUN: gaitprop" in done.output
    assert "bioplaus run --rule gaitprop --rule backprop --task mnist-square" in done.output
    wrong = CliRunner().invoke(main, ["claims", "--rule", "gaitpop"])
    assert wrong.exit_code == 1 and "did you mean gaitprop" in wrong.output
