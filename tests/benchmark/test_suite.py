"""Suites: what their files may say, and what a mistake in one is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus import suites
from bioplaus.benchmark.suite import parse_suite, read_suite
from bioplaus.errors import BioplausError, ConfigError, UnknownNameError
from bioplaus.learning.search_space import Around, Choice, LogUniform, Uniform
from bioplaus.plugins import registry

MINIMAL = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-square"]\nseeds = 3\n'


@pytest.mark.parametrize("name", suites.names())
def test_the_built_in_suites_are_sound_and_described(name: str) -> None:
    suite = read_suite(name)
    assert suite.name == name
    assert suites.description(name) == suite.description != ""


def test_a_number_of_seeds_is_the_first_ones_and_a_list_is_those() -> None:
    assert parse_suite(MINIMAL, "x").seeds == [0, 1, 2]
    assert parse_suite(MINIMAL.replace("3", "[4, 7]"), "x").seeds == [4, 7]


def test_names_and_tables_mix_and_all_is_every_rule() -> None:
    text = MINIMAL.replace('["backprop"]', '["all", { rule = "gaitprop", set = { ortho = 0.5 } }]')
    entries = parse_suite(text, "x").rule_entries()
    assert [e.rule for e in entries if not e.set] == registry.names("rule")
    assert [(e.rule, e.set) for e in entries if e.set] == [("gaitprop", {"ortho": 0.5})]
    everything = parse_suite(MINIMAL.replace('["backprop"]', '"all"'), "x").rule_entries()
    assert [e.rule for e in everything] == registry.names("rule")


def test_the_trials_epochs_are_the_tasks_unless_the_suite_says() -> None:
    suite = parse_suite(MINIMAL + "[tuning]\ntrials = 4\nseeds = 2\n", "x")
    assert suite.tuning is not None
    assert suite.tuning.budget(50).model_dump() == {"trials": 4, "seeds": 2, "epochs": 50}
    suite = parse_suite(MINIMAL + "[tuning]\ntrials = 4\nepochs = 7\n", "x")
    assert suite.tuning is not None
    assert suite.tuning.budget(50).model_dump() == {"trials": 4, "seeds": 1, "epochs": 7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "colour = 1", "colour: there is no such field"),
        (MINIMAL.replace("seeds = 3", ""), "seeds: it is missing"),
        (MINIMAL.replace("3", "0"), "seeds: between 1 and 10,000 seeds"),
        (MINIMAL.replace("3", "[1_000_000]"), "less than 1000000"),
        (MINIMAL.replace("3", "[]"), "at least 1 item"),
        (MINIMAL.replace('["backprop"]', "[]"), "rules: .*at least 1 item"),
        (MINIMAL.replace('["backprop"]', "[1]"), r"rules\.0"),
        (MINIMAL.replace('"backprop"', '{ name = "backprop" }'), r"rules\.0\.rule: it is missing"),
        (MINIMAL.replace("backprop", "bakprop"), "unknown rule 'bakprop'; did you mean backprop"),
        (MINIMAL + "[tuning]\ntrials = 0", "tuning.trials: .*greater than or equal to 1"),
        (MINIMAL + "[tuning", "not valid TOML"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    with pytest.raises(BioplausError, match=message) as caught:
        parse_suite(text, "x.toml")
    assert "\n" not in str(caught.value)


def test_a_suite_by_name_or_by_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown suite 'quik'; did you mean quick"):
        read_suite("quik")
    with pytest.raises(ConfigError, match="cannot read the suite file"):
        read_suite(str(tmp_path / "none.toml"))
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.replace("digits-square", "own.toml"))
    assert read_suite(str(path)).tasks[0].task == str(tmp_path / "own.toml")


def test_ranges_are_spread_evenly() -> None:
    assert [Uniform(2, 4).at(u) for u in (0.0, 0.25, 1.0)] == [2, 2.5, 4]
    log = LogUniform(1e-4, 1e-2)
    assert log.at(0.5) == pytest.approx(1e-3, rel=1e-12)
    assert log.at(0.0) == 1e-4 and log.at(1.0) == pytest.approx(1e-2, rel=1e-12)
    assert [Choice((1, 2, 3)).at(u) for u in (0.0, 0.34, 0.99, 1.0)] == [1, 2, 3, 3]
    around = Around(1.0).of(0.1)
    assert (around.low, around.high) == (pytest.approx(0.01), pytest.approx(1.0))
    assert Around(1.0, most=0.5).of(0.1).high == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(2, 1),
        lambda: LogUniform(0, 1),
        lambda: Uniform(0, float("inf")),
        lambda: Choice(()),
        lambda: Around(1.0).of(0.0),
        lambda: Around(1.0).of(None),
    ],
)
def test_ranges_that_are_none_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        make()
