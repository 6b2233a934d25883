"""What datasets and tasks must do, as pytest classes for their authors."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Dataset, Split, SplitName
from bioplaus.tasks.task import Task, read_task
from bioplaus.testing.failures import require


class DatasetConformance:
    """Subclass it and name the dataset: `dataset = "mine"`, as registered, or the class itself."""

    dataset: ClassVar[str | type[Dataset]]

    @cached_property
    def made(self) -> Dataset:
        """The dataset."""
        named = self.dataset
        cls: type[Dataset] = registry.load("dataset", named) if isinstance(named, str) else named
        return cls()

    def test_examples_have_the_declared_shape(self) -> None:
        for split in self._splits().values():
            require(
                tuple(split.x.shape[1:]) == tuple(self.made.shape),
                f"examples have the shape {tuple(split.x.shape[1:])}, declared is "
                f"{self.made.shape}",
                "`shape` is that of one example: (features,) or (channels, height, width)",
            )

    def test_labels_are_the_declared_classes(self) -> None:
        for name, split in self._splits().items():
            given = sorted(set(split.y.tolist()))
            require(
                given == list(range(self.made.classes)),
                f"the {name} split has the labels {given}",
                f"labels are int64 from 0 to {self.made.classes - 1}, and each occurs",
            )

    def test_loading_again_gives_the_same_examples(self) -> None:
        first, second = self._splits(), self._splits()
        require(
            all(first[name].checksum == second[name].checksum for name in first),
            "loading twice gives different examples",
            "read from files, or draw from Stream(0).at(...): a record's key holds a checksum",
        )

    def test_the_splits_share_no_example(self) -> None:
        train, test = (
            {bytes(x.contiguous().numpy().tobytes()) for x in split.x}
            for split in self._splits().values()
        )
        both = len(train & test)
        require(
            not both,
            f"{both} examples are in both splits",
            "a test example that was trained on measures nothing: leave it out of one split",
        )

    def _splits(self) -> dict[str, Split]:
        names: tuple[SplitName, SplitName] = ("train", "test")
        return {name: self.made.load(name) for name in names}


class TaskConformance:
    """Subclass it and name the task: `task = "mine"`, or the path of its .toml file."""

    task: ClassVar[str]

    @cached_property
    def made(self) -> Task:
        """The task."""
        return read_task(self.task)

    def test_the_file_is_named_after_the_task(self) -> None:
        name = self.task.rpartition("/")[2].removesuffix(".toml")
        require(
            self.made.name == name,
            f"the file of {name} calls its task {self.made.name!r}",
            "records go by the name in the file: make them equal",
        )

    def test_the_network_fits_the_data(self) -> None:
        self.made.build_network()

    def test_the_data_fill_a_batch(self) -> None:
        data = self.made.load_data()
        require(
            len(data.train) >= self.made.batch_size,
            f"{len(data.train)} training examples do not fill a batch of {self.made.batch_size}",
            "lower batch_size or validation",
        )

    def test_some_rule_can_train_it(self) -> None:
        net = self.made.build_network()
        found = {
            name: registry.load("rule", name).configured().supports(net)
            for name in registry.names("rule")
        }
        require(
            None in found.values(), f"no installed rule supports the network: {found}", "change it"
        )
