"""A cell: one rule, fully configured, on one task, and the records of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from bioplaus.experiments.experiment import Experiment
from bioplaus.plugins import registry
from bioplaus.records.keys import digest, seed_key
from bioplaus.records.reading import read_record
from bioplaus.records.rule_card import rule_card
from bioplaus.records.schema import Cost, Curves, EarlyStop, Record, Timing
from bioplaus.records.store import Store
from bioplaus.running import weights as trained
from bioplaus.system.device import provenance
from bioplaus.training.checkpoint import PREFIX
from bioplaus.training.cost import cost
from bioplaus.training.seed_outcome import Outcome
from bioplaus.training.trainer import Trainer


@dataclass(frozen=True)
class SeedRecords:
    """The records of one experiment's seeds in a store."""

    experiment: Experiment
    store: Store
    configuration: dict[str, object]

    @cached_property
    def digest(self) -> str:
        return digest(self.configuration)

    def path(self, seed: int) -> Path:
        return self.store.path(
            self.experiment.task.name, self.experiment.rule.name, self.digest, seed
        )

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.path(0).parent

    @property
    def failure_path(self) -> Path:
        """Where its failure is, or would be."""
        task, rule = self.experiment.task.name, self.experiment.rule.name
        return self.store.failure_path(task, rule, self.digest)

    @property
    def claim(self) -> Path:
        """What to claim before it is trained."""
        task, rule = self.experiment.task.name, self.experiment.rule.name
        return self.store.cell_claim(task, rule, self.digest)

    @property
    def title(self) -> str:
        """A few words for people."""
        experiment = self.experiment
        return f"{experiment.rule.name} on {experiment.task.name} {experiment.label}".rstrip()

    def missing(self, seeds: Sequence[int], force: bool, weights: bool) -> list[int]:
        """Which of the seeds to train; NewerError as for `has`."""
        there = {seed for seed in seeds if self.has(seed, weights)}
        return [seed for seed in seeds if force or seed not in there]

    def with_company(self, missing: Sequence[int], seeds: Sequence[int]) -> list[int]:
        """The missing seeds, and those of `seeds` that have trained together with one of them.

        A training that was stopped between two of its records has left a checkpoint. Its last
        bits hang on how many train together, so all of it goes on.
        """
        if not missing or not any(self.folder.glob(f"{PREFIX}*")):
            return list(missing)
        wanted = set(missing)
        for seed in set(seeds) - wanted:
            together = self.read(seed).provenance.get("seeds_together", ())
            if not wanted.isdisjoint(together):
                wanted.add(seed)
        return [seed for seed in seeds if seed in wanted]

    def has(self, seed: int, weights: bool) -> bool:
        """Whether that seed's record, and its weights if wanted, are there and sound.

        NewerError where a newer bioplaus wrote it: it cannot be used, nor written again.
        """
        there = self.store.standing(self.path(seed))
        kept = trained.files(self.path(seed), self.experiment.rule) if weights else ()
        if not all(path.is_file() for path in kept):
            return False
        return isinstance(there, Record) and there.key == seed_key(self.digest, seed)

    def read(self, seed: int) -> Record:
        """That seed's record; RecordError where there is none, or a damaged one."""
        return read_record(self.path(seed))

    def keep(
        self, trainer: Trainer, weights: bool, kept: list[Record], replace: bool = False
    ) -> None:
        """Write every seed's record, and add what stands there then to `kept`.

        RecordError where one cannot be written; all are added even so.
        """
        records = self.records(trainer)
        try:
            for i, outcome in enumerate(trainer.outcomes):
                if weights:
                    rule = self.experiment.rule
                    found = trained.Weights.of(rule, outcome.params, outcome.state)
                    trained.save(found, self.path(outcome.seed), rule)
                records[i] = self.store.publish(records[i], replace=replace)
                if replace:
                    self.store.forget_measurements(records[i])
        finally:
            kept += records

    def records(self, trainer: Trainer) -> list[Record]:
        """The facts on each seed that trained together."""
        first = trainer.stepper.programs[0]
        origin = provenance(trainer.device, trainer.threads, trainer.seeds, first.how)
        origin["date"] = datetime.now(UTC).date().isoformat()
        if measured := trainer.stepper.measurements:
            origin["measurements"] = measured[0].how
        if self.experiment.task.early_stopping is not None:
            # until the last of them stopped: what their time was spent on
            origin["epochs_together"] = trainer.epochs_done
        if trainer.resumed_at:
            origin["resumed_at_steps"] = trainer.resumed_at
        if trainer.notes:
            origin["notes"] = trainer.notes
        origin["rule"] = registry.find("rule", self.experiment.rule.name).origin()
        return [self._record(o, trainer, cost(trainer), origin) for o in trainer.outcomes]

    def _record(
        self, outcome: Outcome, trainer: Trainer, taken: Cost, origin: dict[str, object]
    ) -> Record:
        size = len(trainer.seeds)
        lost = outcome.diverged_epoch is not None
        return Record(
            key=seed_key(self.digest, outcome.seed),
            cell=self.digest,
            task=self.experiment.task.name,
            rule=self.experiment.rule.name,
            seed=outcome.seed,
            label=self.experiment.label,
            status="diverged" if lost else "complete",
            diverged_epoch=outcome.diverged_epoch,
            configuration=self.configuration,
            train_loss=outcome.metrics["loss"][-1],
            validation_accuracy=outcome.validation_accuracy[-1],
            test_accuracy=outcome.test_accuracy[-1],
            curves=Curves(
                metrics=outcome.metrics,
                validation_accuracy=outcome.validation_accuracy,
                test_accuracy=outcome.test_accuracy,
                alignment=outcome.alignment,
            ),
            early_stop=self._early_stop(outcome),
            timing=Timing(
                group_train_seconds=trainer.train_seconds,
                group_evaluation_seconds=trainer.evaluation_seconds,
                group_size=size,
                setup_seconds=trainer.setup_seconds,
                train_seconds=trainer.train_seconds / size,
            ),
            cost=taken,
            card=rule_card(self.experiment.rule),
            provenance=origin,
        )

    def _early_stop(self, outcome: Outcome) -> EarlyStop | None:
        if self.experiment.task.early_stopping is None or outcome.diverged_epoch is not None:
            return None
        return EarlyStop(
            stopped_epoch=outcome.stopped_epoch, validation_after=outcome.validation_after
        )
