"""Measurements of the robustness axis, made up."""

from __future__ import annotations

from bioplaus.records.keys import measurement_key
from bioplaus.records.schema import Measurement, Record

CURVES = {0: [0.9, 0.5], 1: [0.8, 0.4], 2: [0.85, 0.6]}


def made(record: Record, curve: list[float], **settings: object) -> Measurement:
    settings = {"k": [1, 2]} | settings
    return Measurement(
        key=measurement_key("robustness", 1, settings, record.key, "0" * 64), axis="robustness",
        version=1, settings=settings, record=record.key, weights="0" * 64, cell=record.cell,
        task=record.task, rule=record.rule, label=record.label, seed=record.seed,
        values={"clean": curve[0] + 0.05, "robust": curve},
        described={"robust": {"over": "k", "at": [1, 2], "share": True, "place": 1},
                   "clean": {"share": True}},
        seconds=1.0, provenance={},
    )  # type: ignore[arg-type]  # fmt: skip
