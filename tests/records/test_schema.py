"""Records as data: canonical digests, keys and names."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from bioplaus.records.keys import digest, seed_key
from bioplaus.records.store import Store
from tests.helpers.records import make_record

BAD_NAMES = ["../x", "a/b", "..", ".hidden", "", "a\n", "a\\b", "a\0", "-x", "a b", "x" * 81]


def test_the_file_is_standard_json_and_the_same_each_time(store: Store) -> None:
    record = make_record()
    text = store.write(record).read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert content["schema"] == 1
    assert list(content) == sorted(content)
    assert store.write(record).read_text() == text


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("part", ["task", "rule"])
def test_names_cannot_leave_their_folder(part: str, name: str) -> None:
    with pytest.raises(ValidationError):
        make_record(**{part: name})


def test_digest_is_canonical() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"lr": 0.1}) == digest(json.loads('{"lr": 0.1}'))
    assert digest({"lr": 0.1}) == digest({"lr": 0.10000000000000001})
    assert digest({"lr": 0.1}) != digest({"lr": 0.1 + 2**-56})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    # printf '{"a":0.1,"b":[1,null]}' | sha256sum
    sha = "99c2505ae8eb72b771949758f938c727cf72ff32be52cf9c9ad18d37882eddf5"
    assert digest({"b": [1, None], "a": 0.1}) == sha
    with pytest.raises(ValueError):
        digest({"lr": math.nan})


def test_the_key_is_of_cell_and_seed() -> None:
    first, second = make_record(seed=0), make_record(seed=1)
    assert first.cell == second.cell
    assert first.key != second.key
    assert first.key == seed_key(first.cell, 0)
