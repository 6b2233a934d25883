"""Tasks: everything but the rule. Dataset, split, network, loss, optimizer and budget, as data."""

from __future__ import annotations

import os
from math import prod
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bioplaus import tasks
from bioplaus.errors import (
    ConfigError,
    DataError,
    PluginError,
    UnknownNameError,
    shown,
    validation_message,
)
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Need
from bioplaus.learning.schedule import Schedule
from bioplaus.network.losses import Loss, get_loss
from bioplaus.network.network import Network
from bioplaus.network.running_statistics import check_batches
from bioplaus.network.toml_tables import MOST
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.system.toml_files import TABLE, parse_toml, read_toml
from bioplaus.tasks.augment import Augment
from bioplaus.tasks.changes import instead, with_part
from bioplaus.tasks.continual import Continual
from bioplaus.tasks.dataset import Dataset, Split
from bioplaus.tasks.door import check_alike, load_dataset, load_split
from bioplaus.tasks.early_stopping import EarlyStopping, Epochs
from bioplaus.tasks.goal import Goal
from bioplaus.tasks.network_spec import NetworkSpec
from bioplaus.tasks.pruning import Pruning
from bioplaus.tasks.task_data import TaskData as TaskData
from bioplaus.tasks.task_data import TrainingData as TrainingData
from bioplaus.tasks.task_data import prepare as prepare
from bioplaus.tasks.variations import first_examples, with_noisy_labels


class Task(BaseModel):
    """A benchmark task; copy a built-in file to make your own."""

    model_config = TABLE

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    description: str = ""
    dataset: str
    validation: int = Field(0, ge=0, description="training examples held out; 0 for none")
    loss: Literal["mse", "cross_entropy", "contrastive_hinge"]
    batch_size: int = Field(gt=0)
    epochs: int = Field(gt=0)
    optimizer: OptimizerSpec
    network: NetworkSpec
    depth: int | None = Field(None, gt=1, le=1000, description="layers with weights")
    width: int | None = Field(None, gt=0, le=MOST, description="units of each hidden dense layer")
    activation: str | None = Field(None, description="of each hidden dense layer")
    train_examples: int | None = Field(None, gt=0, description="only so many, the same for all")
    label_noise: float | None = Field(
        None, gt=0, lt=1, description="share of the training labels that are wrong"
    )
    augment: Augment | None = Field(None, description="changes of the training images")
    normalise: Literal[True] | None = Field(
        None, description="each channel to mean 0 and deviation 1 over the training examples"
    )
    schedule: Schedule | None = Field(None, description="of the learning rates; default constant")
    targets: Literal["values"] | None = Field(
        None, description="numbers in the place of classes: the data set's, for a regression"
    )
    goal: Goal | None = Field(None, description="what to learn without labels")
    pruning: Pruning | None = Field(None, description="weights left out from the start")
    continual: Continual | None = Field(None, description="experiences that are learned in turn")
    evaluate_every: Epochs | None = Field(
        None, description="epochs between two evaluations; default 1; the last has one"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="keep the best network by validation, and stop; default the last one"
    )
    metric: Literal["r2", "loss"] | None = Field(
        None, description="what boards rank by, of a task without classes; default r2"
    )

    def content(self) -> dict[str, object]:
        """All that decides a result: what a record's key covers of the task."""
        return self.model_dump(
            mode="json", exclude={"name", "description", "epochs", "optimizer"}, exclude_none=True
        )

    def updated(self, changes: dict[str, object]) -> Self:
        """The task with some fields changed, validated again; "pruning.sparsity" is of a table.

        A part of a table that is not there makes one, of it and of the table's defaults.
        """
        content = self.model_dump()
        for name, value in changes.items():
            field, _, part = name.partition(".")
            if field not in type(self).model_fields or field in ("name", "network"):
                choices = type(self).model_fields.keys() - {"name", "network"}
                raise UnknownNameError("task setting", name, choices, instead(name))
            content[field] = with_part(content[field], part.split("."), value) if part else value
        return _validated(type(self), content, f"task {self.name}")

    @property
    def gives(self) -> frozenset[Need]:
        """What of it rules may learn from."""
        if self.goal is None:
            own: Need = "targets" if self.targets == "values" else "classes"
            return frozenset({"error", "targets", own})
        if self.goal.kind == "two-views":
            return frozenset({"error", "views"})
        given = frozenset[Need]({"error", "targets"})
        return given if self.goal.mask is not None else given | {"examples"}

    def build_network(self) -> Network:
        """The network on this task's data, without loading them."""
        dataset = load_dataset(self.dataset)
        try:
            spec = self.network.varied(self.depth, self.width, self.activation)
        except (ConfigError, UnknownNameError, ValidationError) as error:
            why = validation_message(error) if isinstance(error, ValidationError) else str(error)
            raise ConfigError(f"task {self.name}: {why}") from None
        self._check_goal(dataset)
        classes, loss = self._outputs(dataset)
        try:
            network = spec.build(dataset.shape, loss, classes, numbers="classes" not in self.gives)
            check_batches(network, self.batch_size)
            if self.goal is not None:
                self.goal.check(network.depth, dataset.shape)
            if self.augment is not None:
                self.augment.check(dataset.shape)
            if self.schedule is not None:
                self.schedule.check(self.epochs)
            if self.continual is not None:
                self.continual.check(dataset.classes, self.epochs, self.evaluate_every or 1)
            if self.early_stopping is not None:
                self.early_stopping.check(self.validation, self.continual, self.goal)
        except ConfigError as error:
            raise ConfigError(f"task {self.name}: {error}") from None
        return network

    def _outputs(self, dataset: Dataset) -> tuple[int | None, Loss]:
        """How many units are taught, None for all of the last layer's, and by which loss."""
        if self.goal is None:
            return dataset.classes, get_loss(self.loss)
        if self.goal.kind == "two-views":
            return None, self.goal.hinge()
        return prod(dataset.shape), get_loss(self.loss)

    def _check_goal(self, dataset: Dataset) -> None:
        """ConfigError where goal, targets, loss and data do not go together."""
        wrong = ""
        values = self.targets == "values"
        ticket = self.pruning is not None and self.pruning.kind == "ticket"
        if self.goal is not None and values:
            wrong = "it has a goal and `targets`; a goal makes its own targets"
        elif self.goal is None and values != (dataset.targets == "values"):
            there = "classes" if values else "values"
            due = "leave `targets` out" if values else 'set targets = "values"'
            wrong = f"the targets of {dataset.name} are {there}: {due}"
        elif self.loss not in (losses := self._losses()):
            wrong = f'the loss {self.loss} is for another goal: set loss = "{losses[0]}"'
        elif (self.goal or values) and self.label_noise is not None:
            wrong = "label_noise is for classes"
        elif (self.goal or values) and self.augment is not None:
            wrong = "augment is for tasks of classes"
            wrong += "; a goal draws its own views or masks" if self.goal else ""
        elif ticket and (self.goal or values or self.augment or self.continual):
            wrong = "a ticket (pruning.kind) is for tasks of classes, without augment or continual"
        elif self.continual and (self.goal or values or self.augment):
            wrong = "continual is for tasks of classes, without augment"
        elif self.metric and (self.goal is None or self.goal.kind == "two-views") and not values:
            wrong = f"the metric {self.metric} is for tasks of numbers to learn"
        if wrong:
            raise ConfigError(f"task {self.name}: {wrong}")

    def _losses(self) -> tuple[str, ...]:
        """The losses that its targets may have."""
        if self.goal is not None:
            return (self.goal.loss,)
        return ("mse",) if self.targets == "values" else ("cross_entropy", "mse")

    def load_training_data(self) -> TrainingData:
        """All but the test split, which is not read; DataError as for `load_data`."""
        dataset = load_dataset(self.dataset)
        train = load_split(dataset, "train")
        if len(train) - self.validation < self.batch_size:
            raise DataError(
                f"{self.dataset} has {len(train)} training examples; with {self.validation} held "
                f"out for validation they do not fill a batch of {self.batch_size}: make "
                "validation or batch_size smaller"
            )
        # fixed for all seeds, rules and tasks on this dataset: seed 0 of a stream of its own
        order = Stream(0).at("validation split", self.dataset).permutation(len(train))
        held_out, kept = order[: self.validation], order[self.validation :].sort().values
        return TrainingData(
            train=self._varied(train[kept], dataset.classes),
            validation=train[held_out] if self.validation else None,
            checksums={"train": train.checksum},
            scale=dataset.scale,
            classes=dataset.classes,
        )

    def _varied(self, train: Split, classes: int) -> Split:
        """The examples to learn from, as many and as true as the task says; DataError."""
        if self.train_examples is not None:
            if not self.batch_size <= self.train_examples <= len(train):
                raise DataError(
                    f"train_examples is {self.train_examples}, which is not between a batch of "
                    f"{self.batch_size} and the {len(train)} examples that {self.dataset} has: "
                    "choose another"
                )
            train = first_examples(train, self.train_examples, self.dataset)
        if self.label_noise is not None:
            train = with_noisy_labels(train, self.label_noise, classes, self.dataset)
        return train

    def load_data(self) -> TaskData:
        """All splits; DataError where data are missing, damaged or too few."""
        training = self.load_training_data()
        test = load_split(load_dataset(self.dataset), "test")
        check_alike(training.train, test, self.dataset)
        return TaskData(
            train=training.train,
            validation=training.validation,
            checksums=training.checksums | {"test": test.checksum},
            scale=training.scale,
            classes=training.classes,
            test=test,
        )


def read_task(name_or_file: str) -> Task:
    """A task by name, or one of your own by its .toml file."""
    if name_or_file.endswith(".toml"):
        text = read_toml(name_or_file, "task file")
        table = parse_toml(text, name_or_file)
    elif name_or_file in tasks.names():
        return _of_plugin(name_or_file)
    else:
        hint = registry.not_installed("task", name_or_file, tasks.names())
        if os.path.isdir(name_or_file):  # where Path raises for a name that is too long
            hint = "; it is a folder, and a task of your own is given as FILE.toml"
        raise UnknownNameError("task", name_or_file, tasks.names(), hint)
    if {"rules", "tasks"} <= table.keys():
        raise ConfigError(f"{shown(name_or_file)} is a suite, not a task: `bioplaus bench` runs it")
    return _validated(Task, table, f"task {shown(name_or_file)}")


def _of_plugin(name: str) -> Task:
    """A task by name; PluginError where a plugin's is broken."""
    table = tasks.table(name)
    try:
        return _validated(Task, table, f"task {name}")
    except ConfigError as error:
        raise PluginError(f"{error} (from {tasks.source(name)})") from None


_M = TypeVar("_M", bound=BaseModel)


def _validated(model: type[_M], table: dict[str, object], what: str) -> _M:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{what}: {validation_message(error, model)}") from None
    except (ConfigError, UnknownNameError) as error:  # an activation's or a graph's, from inside
        raise ConfigError(f"{what}: {error}") from None
