"""The trained network behind a record: from its files, or by training it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from bioplaus.errors import BioplausError, RecordError
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import initial
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running import weights as files
from bioplaus.running.verify import group_of, train_again
from bioplaus.running.weights import Weights
from bioplaus.system.device import PRECISIONS
from bioplaus.training.progress import Progress

_HELD = 16
"""Cells whose retrained weights are kept."""

Observer = Callable[[Experiment, Progress], None]
Found = Weights | str
"""The weights, or why there are none."""


@dataclass
class WeightsOfRecords:
    """Finds weights; what trained together is trained again once."""

    store: Store
    records: Iterable[Record]
    """All that may be asked for, so that seeds trained beside one are judged too."""
    observe: Observer = lambda experiment, progress: None
    _again: OrderedDict[str, dict[int, Found]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._known = {(r.cell, r.seed): r for r in self.records}

    def saved(self, record: Record, experiment: Experiment) -> Weights | None:
        """Those beside the record; None where there are none.

        RecordError where they are damaged, or not of such a network.
        """
        path = self.store.path(record.task, record.rule, record.cell, record.seed)
        found = files.load(path, experiment.rule)
        if found is not None:
            _check(found, experiment, record.seed, str(files.files(path, experiment.rule)[0]))
        return found

    def trained_again(self, record: Record) -> Weights:
        """Those of the same training run once more; BioplausError where it gives another result.

        It must reproduce the record as `bioplaus verify` asks.
        """
        cell = self._again.setdefault(record.cell, {})
        self._again.move_to_end(record.cell)
        if record.seed not in cell:
            cell |= self._train(record)
        while len(self._again) > _HELD:
            self._again.popitem(last=False)
        found = cell[record.seed]
        if isinstance(found, str):
            raise BioplausError(found)
        return found

    def _train(self, record: Record) -> dict[int, Found]:
        group = group_of(record)
        try:
            again = train_again([record], observe=self.observe)
        except BioplausError as error:
            return dict.fromkeys(group, str(error))
        made: dict[int, Found] = {}
        for trainer in again.trainers:
            for outcome in trainer.outcomes:
                seed = outcome.seed
                known = self._known.get((record.cell, seed))
                if known is None:
                    continue
                judged = again.judged(known)
                rule = again.cell.experiment.rule
                made[seed] = (
                    Weights.of(rule, outcome.params, outcome.state)
                    if judged.reproduces
                    else f"trained again, it came out otherwise: {'; '.join(judged.reasons)}"
                )
        return made


def _check(found: Weights, experiment: Experiment, seed: int, file: str) -> None:
    dtype = PRECISIONS[experiment.precision]
    params, state = initial(experiment.rule, experiment.network, seed, dtype, torch.device("cpu"))
    due = {**params, **Weights.of(experiment.rule, params, state).flat_state()}
    given = {**found.params, **found.flat_state()}
    wrong = due.keys() ^ given.keys()
    wrong = wrong or {
        n for n in due if due[n].shape != given[n].shape or due[n].dtype != given[n].dtype
    }
    if wrong:
        raise RecordError(
            f"{file}: not the weights of this network ({', '.join(sorted(wrong)[:3])}); remove it, "
            "and `bioplaus measure` trains the record again"
        )
