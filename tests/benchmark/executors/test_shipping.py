"""Examples on their way to another process: the same, and no copy."""

from __future__ import annotations

import torch

from bioplaus.benchmark.executors.shipping import pack_test, pack_training, unpack
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TaskData


def test_packed_data_are_the_same_and_share_their_memory() -> None:
    x = torch.arange(24, dtype=torch.uint8).reshape(4, 2, 3)
    train = Split(x, torch.tensor([0, 1, 2, 0]))
    held = Split(torch.rand(2, 3, dtype=torch.float64), torch.tensor([1, 1]))
    test = Split(torch.rand(1, 3).bfloat16(), torch.tensor([2]))
    data = TaskData(train, held, {"train": "a", "test": "b"}, 0.5, 3, test)
    training = pack_training(data)
    again = unpack(training, pack_test(data))
    assert isinstance(again, TaskData)
    for mine, theirs in [(train, again.train), (held, again.validation), (test, again.test)]:
        assert theirs is not None and theirs.x.dtype == mine.x.dtype
        assert torch.equal(mine.x, theirs.x) and torch.equal(mine.y, theirs.y)
    assert (again.checksums, again.scale, again.classes) == (data.checksums, 0.5, 3)
    assert again.train.x.data_ptr() == x.data_ptr()
    alone = unpack(training, None)
    assert not isinstance(alone, TaskData) and alone.checksums == {"train": "a"}
