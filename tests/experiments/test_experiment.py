"""Experiments: who decides what, and what a key covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.errors import BioplausError, ConfigError, UnknownNameError, UnsupportedError
from bioplaus.experiments.experiment import Experiment, plan
from bioplaus.experiments.settings import parse_assignments
from bioplaus.records.keys import digest


def one(tiny: Path, rule: str = "gaitprop", **settings: object) -> Experiment:
    return plan([rule], str(tiny), settings=settings)[0]


def test_precedence_task_then_rule_then_command_line(tiny: Path) -> None:
    assert one(tiny, "backprop").optimizer.lr == 1e-3
    assert one(tiny, "targetprop-exact").optimizer.lr == 1e-5
    chosen = plan(["targetprop-exact"], str(tiny), settings={"optimizer.lr": 0.25})[0]
    assert chosen.optimizer.lr == 0.25
    assert chosen.optimizer.betas == (0.9, 0.99)
    assert chosen.label == "optimizer.lr=0.25"


def test_auxiliary_optimizer_can_be_set(tiny: Path) -> None:
    chosen = plan(["targetprop"], str(tiny), settings={"aux_optimizer.lr": 0.5})[0]
    assert chosen.aux_optimizer is not None and chosen.aux_optimizer.lr == 0.5
    assert chosen.label == "aux_optimizer.lr=0.5"
    with pytest.raises(ConfigError, match="gaitprop as configured learns no auxiliary"):
        plan(["gaitprop"], str(tiny), settings={"aux_optimizer.lr": 0.5})


def test_labels_name_what_differs_from_the_defaults(tiny: Path) -> None:
    assert one(tiny).label == ""
    assert one(tiny, ortho=0.1).label == ""
    assert plan(["gaitprop"], str(tiny), epochs=2)[0].label == ""
    changed = plan(["gaitprop"], str(tiny), epochs=3, settings={"task.batch_size": 25})[0]
    assert changed.label == "task.batch_size=25 epochs=3"


def test_bare_options_go_to_every_rule_and_all_must_have_them(tiny: Path) -> None:
    rules = ["gaitprop", "targetprop"]
    both = plan(rules, str(tiny), settings={"ortho": 0.5})
    assert [e.label for e in both] == ["ortho=0.5", "ortho=0.5"]
    one_only = plan(rules, str(tiny), settings={"gaitprop.ortho": 0.5})
    assert [e.label for e in one_only] == ["ortho=0.5", ""]
    with pytest.raises(UnknownNameError, match="unknown option of targetprop 'gamma'"):
        plan(rules, str(tiny), settings={"gamma": 0.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"orto": 1}, "unknown option of gaitprop 'orto'; did you mean ortho"),
        ({"ortho": -1}, "ortho: .*greater than or equal to 0"),
        ({"ortho": "much"}, "ortho: .*number"),
        ({"form": "finit"}, "form: .*'difference' or 'finite'"),
        ({"optimizer.rate": 1}, "unknown optimizer setting 'rate'"),
        ({"optimizer.lr": 0}, "optimizer: lr: .*greater than 0"),
        ({"task.loss": "hinge"}, "loss"),
        ({"task.network": 1}, "unknown task setting 'network'"),
        ({"gaitprp.ortho": 1}, "'gaitprp'; did you mean gaitprop"),
    ],
)
def test_bad_settings_get_one_clear_line(
    tiny: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BioplausError, match=message) as caught:
        plan(["gaitprop"], str(tiny), settings=settings)
    assert "\n" not in str(caught.value)


def test_assignments_read_values_as_in_toml() -> None:
    read = parse_assignments(["a=1", "b=0.5", "c=true", "d=False", "e=text", "r.f=1e-3", "g=[1,2]"])
    expected = {"a": 1, "b": 0.5, "c": True, "d": False, "e": "text", "r.f": 1e-3, "g": [1, 2]}
    assert read == expected
    for bad in ("a", "=1", ""):
        with pytest.raises(ConfigError, match="option=value"):
            parse_assignments([bad])
    with pytest.raises(ConfigError, match="set twice"):
        parse_assignments(["a=1", "a=2"])


def test_a_network_that_a_rule_cannot_train_is_refused_before_anything_runs(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("leaky_relu(0.1)", "relu"))
    with pytest.raises(UnsupportedError, match=r"gaitprop cannot train on tiny: .*relu"):
        plan(["backprop", "gaitprop"], str(tiny))


def test_without_a_task_the_default_is_chosen() -> None:
    assert plan(["gaitprop"])[0].task.name == "digits-square"


@pytest.mark.parametrize(
    ("rule", "task"),
    [
        ("pepita", "digits-relu"),
        ("direct-random-target-projection", "digits-equilibrium"),
        ("burstccn", "digits-sigmoid"),
        ("e-prop", "digits-spiking"),
    ],
)
def test_a_plain_chain_is_chosen_before_convolutions_and_graphs(rule: str, task: str) -> None:
    assert plan([rule])[0].task.name == task


def test_a_key_covers_what_changes_the_result_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    def key(settings: dict[str, object] | None = None, **more: object) -> str:
        chosen = plan(["gaitprop"], str(tiny), settings=settings, **more)[0]  # type: ignore[arg-type]
        return digest(chosen.configuration(chosen.task.load_data()))

    same = key()
    assert key({"ortho": 0.1}) == same
    assert key(epochs=2) == same
    other = tmp_path / "other.toml"
    other.write_text(tiny.read_text().replace('"tiny"', '"renamed"').replace("in a blink", "."))
    renamed = plan(["gaitprop"], str(other))[0]
    assert digest(renamed.configuration(renamed.task.load_data())) == same
    different = [
        key({"ortho": 0.2}),
        key(epochs=3),
        key(precision="fp64"),
        key({"optimizer.lr": 0.1}),
        key({"task.batch_size": 25}),
        key({"task.validation": 900}),
    ]
    assert len({same, *different}) == 1 + len(different)
