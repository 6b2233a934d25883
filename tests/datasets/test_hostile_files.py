"""Whatever a data file holds: only the documented errors, and memory within a bound."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioplaus.datasets.idx import parse_idx, read_gz
from bioplaus.errors import DataError
from tests.helpers.cifar_files import CONTENT as BATCHES
from tests.helpers.cifar_files import Tiny as TinyCifar
from tests.helpers.hostile import allowed, mutated, quick
from tests.helpers.idx_files import CONTENT, FILES, IMAGES, idx, stem
from tests.helpers.idx_files import Tiny as TinyIdx


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
def test_a_mutated_cifar_file_is_the_same_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "test_batch.bin").write_bytes(data)
    split = allowed(lambda: TinyCifar()._read(tmp_path, "test"), DataError)
    assert (split is not None) == (data == BATCHES["test_batch.bin"])
    if split is not None:
        assert split.y.tolist() == [data[0], data[3073]]
        assert bytes(split.x[1].flatten().tolist()) == data[3074:]


def test_a_cifar_file_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="more than 6146 bytes"):
        TinyCifar()._read(tmp_path, "test")
