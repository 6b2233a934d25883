"""What a plugin may be called: on every system a folder, in every command an argument."""

from __future__ import annotations

import pytest

from bioplaus.plugins import registry
from bioplaus.plugins.names import fault


@pytest.mark.parametrize("kind", registry.GROUPS)
def test_every_built_in_name_is_one(kind: str) -> None:
    assert all(fault(kind, name) is None for name in registry.names(kind))


@pytest.mark.parametrize("name", ["a", "A1", "my-rule", "my_rule", "v1.2", "x" * 80, "con-x", "0"])
def test_what_a_record_can_hold_is_a_name(name: str) -> None:
    assert fault("rule", name) is None


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "règle", "a/b", "a\\b", "../evil", "..", ".hidden", "-x", "a\n", "a\0",
     "x" * 81, "x.", "CON", "con", "Aux.rule", "lpt9", "com1.toml",
     5, None, b"bytes", "a:b", "a*", "\uff41"],
)  # fmt: skip
def test_what_no_record_or_folder_can_hold_is_none(name: object) -> None:
    said = fault("rule", name)
    assert said is not None and said.isprintable()


def test_a_word_of_the_command_line_is_no_rules_name() -> None:
    assert all(fault("rule", word) for word in ("all", "optimizer", "aux_optimizer", "task"))
    assert fault("dataset", "all") is None
