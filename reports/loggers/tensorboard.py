"""TensorBoard: curves of every seed, and of the means while training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import Experiment
from bioplaus.records.schema import Record
from bioplaus.running.logger import Logger, curves

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLogger(Logger):
    """TensorBoard event files: TASK/RULE-CELL/seed-0003, and `mean` while training."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise BioplausError(
                "the logger 'tensorboard' needs a package: pip install 'bioplaus[tensorboard]'"
            ) from None
        self._make = SummaryWriter
        self._folder = folder
        self._open: dict[int, SummaryWriter] = {}

    @property
    def where(self) -> str:
        return f"tensorboard --logdir {self._folder}"

    def epoch(self, experiment: Experiment, epoch: int, means: dict[str, float]) -> None:
        writer = self._open.get(id(experiment))
        if writer is None:
            name = f"{experiment.rule.name} {experiment.label}".strip().replace("/", "_")
            place = self._folder / experiment.task.name / name / "mean"
            writer = self._open[id(experiment)] = self._make(str(place))
        for metric, value in means.items():
            writer.add_scalar(metric, value, epoch)
        writer.flush()

    def record(self, record: Record) -> None:
        name = f"{record.rule} {record.label}".strip().replace("/", "_")
        place = self._folder / record.task / name / f"seed-{record.seed:04d}"
        for old in place.glob("events.*"):  # told again: the curves are the same
            old.unlink()
        with self._make(str(place)) as writer:
            for curve, values in curves(record).items():
                for epoch, value in enumerate(values, start=1):
                    if value is not None:
                        writer.add_scalar(curve, value, epoch)
            writer.add_text("record", f"    {record.key}")

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()
