"""Whatever a file holds: only the documented errors, on one line, and memory within a bound."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioplaus import suites, tasks
from bioplaus.benchmark.suite import parse_suite, read_suite
from bioplaus.datasets.idx import parse_idx, read_gz
from bioplaus.errors import BioplausError, ConfigError, DataError, RecordError, UnknownNameError
from bioplaus.records.schema import FailureRecord, Trial, Tuning, TuningBudget, digest
from bioplaus.records.store import MAX_BYTES, read_failure, read_item, read_record, read_tuning
from bioplaus.system.toml_files import MAX_BYTES as MAX_TOML
from bioplaus.tasks.task import read_task
from tests.datasets.test_cifar10 import CONTENT as BATCHES
from tests.datasets.test_cifar10 import Tiny as TinyCifar
from tests.datasets.test_idx import CONTENT, FILES, IMAGES, idx, stem
from tests.datasets.test_idx import Tiny as TinyIdx
from tests.helpers.records import make_record

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SUITE = 'name = "mine"\nrules = ["backprop"]\ntasks = ["digits-square"]\nseeds = 3\n'


def tuning() -> Tuning:
    trial = Trial(
        number=0, settings={"lr": 0.1}, status="complete", validation_accuracy=0.5, seeds=[0.5]
    )
    return Tuning(
        key=digest({"x": 1}), task="toy", rule="backprop", label="",
        budget=TuningBudget(trials=1, seeds=1, epochs=1), space={"lr": "0.1 to 1"},
        trials=[trial], chosen={}, cell="c", configuration={"x": 1}, provenance={},
    )  # fmt: skip


def failure() -> FailureRecord:
    return FailureRecord(
        cell=digest({"x": 1}), task="toy", rule="backprop", label="", seeds=[0], reason="no",
        configuration={"x": 1}, provenance={},
    )  # fmt: skip


READERS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "seed-0000.json": (read_record, make_record(cosines=[[0.5, None]]).to_json().encode()),
    "tuning-0.json": (read_tuning, tuning().to_json().encode()),
    "failure.json": (read_failure, failure().to_json().encode()),
}


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with pieces replaced, repeated, moved or left out."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 20)))
        source = draw(st.integers(0, len(valid)))
        data[at:until] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"", b"null", b"1e999", b"-1", b"NaN", b'"\\ud800"', b"\n", b"\0"])
            | st.just(bytes(valid[source : source + 30]))
        )
    return bytes(data)


def allowed(call: Callable[[], Any], *errors: type[BioplausError]) -> Any:
    """What the call gives; None where it raises one of these errors, on one printable line."""
    try:
        return call()
    except errors as error:
        assert str(error).isprintable() and 0 < len(str(error)) < 3000
        return None


@pytest.mark.parametrize("name", READERS)
@quick
@given(data=st.data())
def test_a_mutated_record_is_read_or_refused(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    reader, valid = READERS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(mutated(valid)))
    item = allowed(lambda: reader(path), RecordError)
    assert allowed(lambda: read_item(path), RecordError) == item
    if item is not None:  # what is taken can be written, and is then the same
        path.write_text(item.to_json())
        assert reader(path) == item


@pytest.mark.parametrize("name", READERS)
@quick
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_no_record(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordError, match="skipped"):
        READERS[name][0](path)


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
        (SUITE + '"\\u001b[31mred\\nline" = 1', r"\\x1b\[31mred\\nline: Extra inputs"),
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


def test_a_pipe_or_a_device_in_place_of_a_record_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "seed-0000.json")
    (tmp_path / "seed-0001.json").symlink_to("/dev/zero")
    for name in ("seed-0000.json", "seed-0001.json"):
        with pytest.raises(RecordError, match="skipped, not a file"):
            read_record(tmp_path / name)


FACTOR = 50
MEASURE = """
import resource, sys
from pathlib import Path
from bioplaus.errors import RecordError
from bioplaus.records.store import read_item
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for name in sys.argv[1:]:
    path, before = Path(name), peak()
    try:
        read_item(path)
        raise SystemExit(f"{name} was read")
    except RecordError:
        print(name, (peak() - before) / path.stat().st_size)
"""


def test_memory_for_a_record_is_bounded_by_its_size(tmp_path: Path) -> None:
    """Peaks only grow: what each file adds to those before it must keep the bound."""
    size = 3 * 2**20
    base = json.loads(make_record(cosines=[[0.5]]).to_json())
    many = ",".join(f'"{i:x}":0' for i in range(size // 9))
    paths = []
    places: list[tuple[str, tuple[str, ...], str, str]] = [
        ("seed", ("curves", "test_accuracy"), "[%s0]", '"",' * (size // 3)),
        ("seed", ("curves", "alignment"), '{"loss":{%s}}', many),
        ("seed", ("curves", "metrics"), "{%s}", many),
        ("seed", (), "{%s}", many),
        ("seed", ("cost",), "{%s}", many),
        ("seed", ("configuration",), "[%s0]", "{}," * (size // 3)),
        ("seed", ("provenance",), "[%s0]", '{"":0},' * (size // 7)),
    ]
    for number, (kind, where, form, filling) in enumerate(places):
        content = json.loads(json.dumps(base))
        inner = content
        for key in where[:-1]:
            inner = inner[key]
        if where:
            inner[where[-1]] = "HERE"
        else:
            content["HERE"] = 0
        text = json.dumps(content)
        filled = form % filling
        text = (
            text.replace('"HERE": 0', filled[1:-1]) if not where else text.replace('"HERE"', filled)
        )
        paths.append(tmp_path / f"{kind}-{number:04d}.json")
        paths[-1].write_text(text)
    lists = {"trials": "[" + "0," * (size // 2) + "0]", "space": "{" + many + "}"}
    for number, (key, filled) in enumerate(lists.items()):
        text = json.dumps(json.loads(tuning().to_json()) | {key: "HERE"})
        paths.append(tmp_path / f"tuning-{number}.json")
        paths[-1].write_text(text.replace('"HERE"', filled))
    paths.append(tmp_path / "failure.json")
    text = json.dumps(json.loads(failure().to_json()) | {"seeds": "HERE"})
    paths[-1].write_text(text.replace('"HERE"', "[%s0]" % ('"",' * (size // 3))))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    factors = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(factors) == len(paths) and max(factors) < FACTOR, done.stdout


def test_a_giant_record_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "seed-0000.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="larger than"):
            read_record(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_BYTES
    finally:
        tracemalloc.stop()


@quick
@given(data=st.binary(max_size=80) | mutated(CONTENT[IMAGES]))
def test_idx_bytes_are_the_defined_tensor_or_refused(data: bytes) -> None:
    tensor = allowed(lambda: parse_idx(data, "some.gz"), DataError)
    if tensor is not None:
        assert idx(tuple(tensor.shape), bytes(tensor.flatten().tolist())) == data


@pytest.mark.parametrize("sizes", [(2**31,), (2**31, 28, 28), (2**32 - 1,) * 4, (65536, 65536)])
def test_a_header_that_claims_too_much_allocates_nothing(sizes: tuple[int, ...]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="where its header says"):
            parse_idx(idx(sizes, bytes(16)), "some.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()


@quick
@given(data=mutated(FILES[IMAGES]) | st.binary(max_size=60))
def test_a_mutated_gz_file_is_the_same_set_or_refused(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir(exist_ok=True)
    for name, content in {**FILES, IMAGES: data}.items():
        (folder / name).write_bytes(content)
    split = allowed(lambda: TinyIdx()._read(folder, "train"), DataError)
    if split is not None:  # the sum is of the content: another file of it may be taken
        assert gzip.decompress(data) == CONTENT[IMAGES], stem(IMAGES)


@pytest.mark.parametrize("members", [1, 64])
def test_a_bomb_is_inflated_to_the_expected_size_and_no_further(
    tmp_path: Path, members: int
) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(2**27 // members), compresslevel=9) * members)
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than the expected 1000 bytes"):
            read_gz(path, 1000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@quick
@given(data=mutated(BATCHES["test_batch.bin"]) | st.binary(max_size=60))
def test_a_mutated_cifar_file_has_ten_classes_or_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "test_batch.bin").write_bytes(data)
    split = allowed(lambda: TinyCifar()._read(tmp_path, "test"), DataError)
    right = len(data) == 2 * 3073 and max(data[0], data[3073]) < 10
    assert (split is not None) == right
    if split is not None:
        assert split.y.tolist() == [data[0], data[3073]]
        assert bytes(split.x[1].flatten().tolist()) == data[3074:]


def test_a_cifar_file_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="more than 6146 bytes"):
        TinyCifar()._read(tmp_path, "test")
