"""MLflow: one run per seed, with its settings and curves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bioplaus.errors import BioplausError
from bioplaus.records.schema import Record
from bioplaus.running.logger import Logger, curves

BATCH = 1000
"""Metrics that MLflow takes at once."""


class MlflowLogger(Logger):
    """MLflow runs, one per seed, in an experiment per task; to $MLFLOW_TRACKING_URI if set."""

    name = "mlflow"

    def __init__(self, folder: Path) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param, RunTag
        except ImportError:
            raise BioplausError(
                "the logger 'mlflow' needs a package: pip install 'bioplaus[mlflow]'"
            ) from None
        self._metric, self._param, self._tag = Metric, Param, RunTag
        self._uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._artifacts: str | None = None
        if not self._uri:
            folder.mkdir(parents=True, exist_ok=True)
            self._uri = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
            self._artifacts = (folder / "artifacts").resolve().as_uri()
        self._client: Any = MlflowClient(tracking_uri=self._uri)

    @property
    def where(self) -> str:
        return f"mlflow ui --backend-store-uri {self._uri}"

    def record(self, record: Record) -> None:
        """What MLflow has of this key already is not told again."""
        experiment = self._experiment(record.task)
        query = f"tags.`bioplaus.key` = '{record.key}'"
        if self._client.search_runs([experiment], query, max_results=1):
            return
        tags = {"bioplaus.key": record.key, "bioplaus.cell": record.cell, "status": record.status}
        name = f"{record.rule} {record.label} seed {record.seed}".replace("  ", " ")
        run = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        params = {"rule": record.rule, "seed": record.seed, **_flat(record.configuration)}
        self._client.log_batch(
            run, params=[self._param(k, str(v)[:6000]) for k, v in list(params.items())[:100]]
        )
        now = int(1000 * time.time())
        points = [
            self._metric(curve, value, now, epoch)
            for curve, values in curves(record).items()
            for epoch, value in enumerate(values, start=1)
            if value is not None
        ]
        for first in range(0, len(points), BATCH):
            self._client.log_batch(run, metrics=points[first : first + BATCH])
        self._client.set_terminated(run, "FINISHED" if record.status == "complete" else "FAILED")

    def _experiment(self, task: str) -> str:
        found = self._client.get_experiment_by_name(task)
        if found is not None:
            known: str = found.experiment_id
            return known
        made: str = self._client.create_experiment(task, artifact_location=self._artifacts)
        return made


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested settings by dotted names."""
    flat: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
