"""Whatever a suite or task file holds: only the documented errors, on one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioplaus import suites, tasks
from bioplaus.benchmark.suite import parse_suite, read_suite
from bioplaus.errors import BioplausError, ConfigError, UnknownNameError
from bioplaus.records.keys import digest
from bioplaus.system.toml_files import MAX_BYTES as MAX_TOML
from bioplaus.tasks.task import read_task
from tests.helpers.hostile import allowed, mutated, quick

SUITE = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-square"]\nseeds = 3\n'


TOML = [
    (read_suite, SUITE),
    *((read_suite, suites.text(name)) for name in suites.names()[:1]),
    *((read_task, tasks.text(name)) for name in ("digits-square", "mnist-conv")),
]


@pytest.mark.parametrize(("reader", "valid"), TOML)
@quick
@given(data=st.data())
def test_a_mutated_suite_or_task_is_read_or_refused(
    tmp_path: Path, reader: Callable[[str], Any], valid: str, data: st.DataObject
) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(data.draw(mutated(valid.encode()) | st.binary(max_size=300)))
    item = allowed(lambda: reader(str(path)), ConfigError, UnknownNameError)
    if item is not None:  # what is taken can stand in a record and be part of its key
        digest(item.model_dump(mode="json"))


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, "dense", "conv2d", "adam", "leaky_relu(1e999)", "../x", "a\0b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def toml(value: object) -> str:
    """A value as TOML, by its grammar."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000)
        return f'"{escaped}"'
    return {"True": "true", "False": "false"}.get(str(value), str(value))


LINES = {
    "suite": {"rules": '["backprop"]', "tasks": '["digits-square"]', "seeds": "3", "epochs": "2",
              "quick": "true", "tuning": "{ trials = 2 }", "precision": '"fp32"'},
    "task": {"dataset": '"digits"', "validation": "1", "loss": '"mse"', "batch_size": "10",
             "epochs": "2", "optimizer": '{ name = "adam", lr = 0.1 }',
             "network": '{ layers = [{ units = 5 }], gain = 1 }'},
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
@quick
@given(data=st.data(), value=VALUES)
def test_any_value_in_any_field_is_taken_or_refused(
    tmp_path: Path, kind: str, data: st.DataObject, value: object
) -> None:
    name = data.draw(st.sampled_from(sorted(LINES[kind])))
    lines = {"name": '"mine"', **LINES[kind], name: toml(value)}
    path = tmp_path / "some.toml"
    path.write_text("".join(f"{k} = {v}\n" for k, v in lines.items()))
    reader = read_suite if kind == "suite" else read_task
    item: Any = allowed(lambda: reader(str(path)), ConfigError, UnknownNameError)
    if item is not None:
        digest(item.model_dump(mode="json"))


@quick
@given(layer=st.dictionaries(st.sampled_from(
    ["type", "units", "channels", "kernel", "stride", "padding", "reads", "activation", "bias",
     "rate", "\x1b[31m\n"]), VALUES | st.integers(0, 9), max_size=5))  # fmt: skip
def test_any_layer_is_built_or_refused(tmp_path: Path, layer: dict[str, object]) -> None:
    lines = {"name": '"mine"', **LINES["task"]} | {"network": f"{{ layers = [{toml(layer)}] }}"}
    path = tmp_path / "some.toml"
    path.write_text("".join(f"{k} = {v}\n" for k, v in lines.items()))
    allowed(lambda: read_task(str(path)).build_network(), ConfigError, UnknownNameError)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "1" * 5000, "not valid TOML"),
        (".".join("x" * 20_000) + " = 1", "dots"),
        ("#" * (MAX_TOML + 1), "larger than"),
        (SUITE + '"\\u001b[31mred\\nline" = 1', r"\\x1b\[31mred\\nline: there is no such field"),
        (SUITE + f'colour = "{"x" * 10_000}"', "xxx"),
        (SUITE.replace("3", "[" + "-1, " * 1000 + "]"), "and 995 more"),
        (SUITE.replace("backprop", "x" * 10_000), "unknown rule"),
    ],
)
def test_a_message_stays_short_and_plain(text: str, what: str) -> None:
    with pytest.raises(BioplausError, match=what) as caught:
        parse_suite(text, "x.toml")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1500


@pytest.mark.parametrize("reader", [read_suite, read_task])
def test_what_is_no_file_is_not_read(reader: Callable[[str], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")  # reading it would wait for a writer
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "folder.toml").mkdir()
    for name in ("pipe.toml", "zero.toml", "folder.toml", "a\0b.toml", "none.toml"):
        with pytest.raises(ConfigError, match="cannot read the"):
            reader(str(tmp_path / name))
