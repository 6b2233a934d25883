"""The registry: lazy, tolerant of broken plugins, helpful with names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bioplaus.errors import PluginError, UnknownNameError
from bioplaus.plugins import registry
from tests.helpers.strangers import install


def test_built_in_rules_come_through_entry_points() -> None:
    five = {"backprop", "gaitprop", "targetprop", "feedback-alignment", "predictive-coding"}
    assert five <= set(registry.names("rule"))
    assert registry.names("rule") == sorted(registry.names("rule"))
    assert registry.plugins("rule")["gaitprop"].source.startswith("bioplaus ")


def test_a_strangers_rule_is_found_and_described_without_importing_it(site: Path) -> None:
    source = '"""Module."""\nclass Mine:\n    """My rule."""\n    name = "mine"\n'
    install(site, "stranger", source, "mine = stranger:Mine", "bioplaus.rules")
    plugin = registry.plugins("rule")["mine"]
    assert plugin.summary() == "My rule."
    assert plugin.source == "stranger 1.0"
    assert "stranger" not in sys.modules
    assert registry.load("rule", "mine").name == "mine"


def test_a_broken_plugin_is_named_and_leaves_the_others_alone(site: Path) -> None:
    source = '"""Broken on purpose."""\nraise RuntimeError("no luck")\n'
    install(site, "broken_rule", source, "broken = broken_rule:Rule", "bioplaus.rules")
    assert registry.plugins("rule")["broken"].summary() == "Broken on purpose."
    with pytest.raises(PluginError, match=r"'broken' from broken_rule 1.0.*no luck"):
        registry.load("rule", "broken")
    assert registry.load("rule", "backprop").name == "backprop"


def test_a_missing_module_is_broken_not_fatal(site: Path) -> None:
    install(site, "ghost", "", "ghost = nowhere_at_all:Rule", "bioplaus.rules")
    assert registry.plugins("rule")["ghost"].summary() == "(broken: no module nowhere_at_all)"
    with pytest.raises(PluginError, match="ghost"):
        registry.load("rule", "ghost")


def test_a_plugin_must_bear_its_own_name(site: Path) -> None:
    source = 'class Rule:\n    name = "other"\n'
    install(site, "misnamed", source, "misnamed = misnamed:Rule", "bioplaus.rules")
    with pytest.raises(PluginError, match="calls itself 'other'"):
        registry.load("rule", "misnamed")


def test_a_name_of_bioplaus_stays_its_own_and_the_other_is_named(site: Path) -> None:
    install(site, "again", "", "backprop = again:Rule", "bioplaus.rules")
    assert registry.load("rule", "backprop").__module__ == "bioplaus.rules.backprop"
    (line,) = registry.problems()
    assert "again 1.0 has a rule 'backprop', which is the name of one from bioplaus" in line


def test_a_name_of_two_strangers_is_nobodys_and_both_are_named(site: Path) -> None:
    install(
        site, "first", 'class Rule:\n    name = "mine"\n', "mine = first:Rule", "bioplaus.rules"
    )
    install(site, "second", "", "mine = second:Rule", "bioplaus.rules")
    assert "mine" in registry.names("rule")
    with pytest.raises(PluginError, match=r"two plugins are called 'mine'.*first:Rule.*second"):
        registry.load("rule", "mine")
    assert len(registry.problems()) == 1


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="unknown rule 'gait-prop'; did you mean gaitprop"):
        registry.load("rule", "gait-prop")
    with pytest.raises(UnknownNameError, match=r"there are: .*digits, "):
        registry.load("dataset", "zzzzzzzz")


def test_listing_imports_neither_torch_nor_a_rule() -> None:
    code = (
        "import sys; from bioplaus.cli import main\n"
        "try: main(['list', 'rules'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'bioplaus.rules.gaitprop'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == len(registry.names("rule"))
