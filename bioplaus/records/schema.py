"""Records: one self-contained JSON file for each (task, rule, configuration, seed).

A record states facts and is never edited. Its key covers all that changes the result
and nothing else: not the device, the threads, the seeds beside it or package versions,
which stand under `provenance` and `timing`. Beside the records stand, as files of their
own kinds, how a configuration was chosen (`Tuning`), what did not run (`FailureRecord`), and what
was measured of trained networks afterwards (`Measurement`).
`bioplaus.records.store` reads and writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FailFast, Field, SerializerFunctionWrapHandler, model_serializer

from bioplaus.learning.profile import Published
from bioplaus.records.refusals import Refusal
from bioplaus.records.schema_parts import MANY, Name, Number, NumberOrNumbers, Numbers, Part, few

SCHEMA: Literal[1] = 1


class Curves(Part):
    """One number per epoch trained; null where it was not finite or not measured."""

    metrics: Annotated[dict[str, Numbers], MANY] = Field(
        description="epoch means of what the rule reports, always `loss`; evaluations: `test_...`"
    )
    validation_accuracy: Numbers
    test_accuracy: Numbers
    alignment: Annotated[dict[str, Annotated[dict[str, Numbers], MANY]], few(10)] = Field(
        description="reference (`loss`, `objective`) -> `cosine.L` and `norm_ratio.L` of layer "
        "L's update against that gradient, on the probe batch, after each epoch"
    )


class EarlyStop(Part):
    """Of a seed whose best network by validation is its result: what came after that network.

    The curves of the record, and all its other numbers, end with that network's epoch.
    """

    stopped_epoch: int | None = Field(
        description="after which it stopped; null where the task's epochs were over before"
    )
    validation_after: Numbers = Field(
        description="the validation after each epoch later than the curves' last, by the task's "
        "metric: none is better"
    )


class Timing(Part):
    """Seconds of the whole group of seeds that trained together."""

    group_train_seconds: float
    group_evaluation_seconds: float
    group_size: int
    setup_seconds: float = Field(
        0.0, description="tracing and compiling the step, in none of the others"
    )
    train_seconds: float = Field(description="this seed's share: the group's by its size")


class Cost(Part):
    """What training took, counted from a step's operations where not said otherwise."""

    forward_equivalents: Number = Field(
        description="operations of a step by those of a forward pass over its batch"
    )
    step_flops: int | None = Field(
        description="of one seed's step; a multiply-add is two, elementwise ones do not count"
    )
    peak_bytes: int | None = Field(
        description="most memory of tensors at a time, all the seeds of the group together"
    )
    peak_measured: bool = Field(
        description="by the device's allocator, or else counted: data, parameters, gradients, "
        "optimizer state, the rule's state, and a step's intermediate results"
    )


class RuleCard(Part):
    """Facts on a rule as configured, for boards; no part of a record's key."""

    summary: str
    citation: dict[str, Any]
    plausibility: dict[str, Any] = Field(description="the profile that the rule declares")
    tested: dict[str, Any] = Field(
        description="measured properties by the profile's names; `weight_transport` is "
        "none, sign or exact: transpose and inverse are not told apart"
    )
    published: Annotated[list[Published], FailFast()] = Field([])


class _File(Part):
    """What a results folder holds: a kind of its own, with a schema."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")

    model_config = ConfigDict(populate_by_name=True)

    def to_json(self) -> str:
        """Readable, with sorted keys and no NaN."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


class Record(_File):
    """What one seed of one rule under one configuration did on one task."""

    key: str = Field(description="digest of cell and seed: equal for runs that must be equal")
    cell: str = Field(description="the key without the seed: the folder of sibling seeds")
    task: Name = Field(description="the task's name")
    rule: Name = Field(description="the rule's name")
    seed: int = Field(ge=0, description="decides initial weights, batch order and noise")
    label: str = Field(description="what differs from the defaults, for people; '' for nothing")
    status: Literal["complete", "diverged"] = Field(
        description="diverged: a parameter or the loss was not finite at the end of an epoch"
    )
    diverged_epoch: int | None = Field(None, description="the first such epoch, from 1")
    configuration: dict[str, Any] = Field(
        description="all that the key covers: task content, data, rule options, optimizers, ..."
    )
    train_loss: Number = Field(description="mean over the last epoch of the curves")
    validation_accuracy: Number = Field(description="share of right answers of the final network")
    test_accuracy: Number = Field(description="share of right answers of the final network")
    curves: Curves = Field(description="the same and more, epoch by epoch")
    early_stop: EarlyStop | None = Field(
        None, description="of a task with early stopping; left out elsewhere"
    )
    timing: Timing = Field(description="how long it took")
    cost: Cost | None = Field(None, description="operations and memory of a step")
    card: RuleCard | None = Field(None, description="facts on the rule, for boards")
    provenance: dict[str, Any] = Field(
        description="the environment it was made in: what may differ between identical runs"
    )

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what older files do not have, where it is not so."""
        found: dict[str, Any] = handler(self)
        return found if self.early_stop else {k: v for k, v in found.items() if k != "early_stop"}


class TuningBudget(Part):
    """What every rule gets: trials, seeds of each, epochs of each."""

    trials: int = Field(ge=1)
    seeds: int = Field(ge=1)
    epochs: int = Field(ge=1)
    each_seed: Literal[True] | None = Field(
        None, description="tuned anew for each seed of the result; left out where it is not"
    )

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what older files do not have, where it is not so."""
        return {k: v for k, v in handler(self).items() if v is not None}


class Trial(Part):
    """One configuration tried, on the training data less the validation split."""

    number: int = Field(ge=0)
    settings: dict[str, Any] = Field(description="setting -> value; {} is the default")
    status: Literal["complete", "diverged", "failed"]
    validation_accuracy: Number = Field(description="mean over seeds; a diverged seed counts 0")
    seeds: Annotated[list[Number], FailFast()] = Field(
        description="each seed's; null for one that diverged"
    )
    reason: str = Field("", description="why it failed")


class Tuning(_File):
    """How a rule's configuration on a task was chosen: on the validation split alone."""

    key: str
    task: Name
    rule: Name
    label: str
    budget: TuningBudget
    space: Annotated[dict[str, str], MANY] = Field(
        description="setting -> what values it may take, in words"
    )
    trials: Annotated[list[Trial], FailFast()]
    chosen: dict[str, Any] = Field(description="setting -> value of the best trial")
    cell: str = Field(description="the digest of the final configuration that it chose")
    configuration: dict[str, Any] = Field(description="all that the key covers")
    provenance: dict[str, Any]


class FailureRecord(_File):
    """A cell that raised instead of giving records."""

    cell: str
    task: Name
    rule: Name
    label: str
    seeds: Annotated[list[int], FailFast()]
    reason: str
    configuration: dict[str, Any]
    provenance: dict[str, Any]


class Described(Part):
    """What the numbers of a measured value mean."""

    over: str = Field("", description="what a list runs over; '' for a single number")
    at: list[float] = Field([], description="its values, one for each number of the list")
    share: bool = Field(False, description="a share from 0 to 1, shown in percent")
    words: str = Field("", description="what it is, for people")
    place: int = Field(0, description="in the order in which values are shown")


class Measurement(_File):
    """What an axis measured of one seed's trained network: no part of its record."""

    key: str = Field(description="digest of axis, version, settings, record and weights")
    axis: Name
    version: int = Field(ge=1, description="the axis's: raised where its numbers change")
    settings: dict[str, Any]
    record: str = Field(description="the key of the record whose network was measured")
    weights: str = Field(description="SHA-256 of what was measured, tensor by tensor")
    cell: str
    task: Name
    rule: Name
    label: str
    seed: int = Field(ge=0)
    values: Annotated[dict[str, NumberOrNumbers], few(1000)]
    described: Annotated[dict[str, Described], few(1000)] = Field(description="of each value")
    seconds: float = Field(ge=0)
    provenance: dict[str, Any]


@dataclass(frozen=True)
class ResultSet:
    """All that a results folder holds: what a report is a function of."""

    records: Sequence[Record]
    """Sorted by task, rule, label, cell and seed."""
    tunings: Sequence[Tuning] = ()
    damaged: Sequence[str] = ()
    """What could not be read, one line each."""
    failures: Sequence[FailureRecord] = ()
    """Cells that raised and have not succeeded since."""
    doubts: Sequence[str] = ()
    """What looks wrong in the records, seen together, one line each."""
    measurements: Sequence[Measurement] = ()
    reproduced: Mapping[str, str] = field(default_factory=dict)
    """Key of a record -> how well it was reproduced, and when, by `verification.json`."""
    refusals: Sequence[Refusal] = ()  # where the rule has no record of the task
