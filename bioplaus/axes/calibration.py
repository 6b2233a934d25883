"""Calibration: does a network's confidence say how often it is right?

Confidence is the largest softmax of the outputs: what a network trained on the cross-entropy
means by it. Outputs of one trained on squared errors are targets, not logits, and its numbers
say so: they are comparable between rules on one task, not between losses.

    ece = sum_b n_b / N |accuracy_b - confidence_b| over bins of equal width
    (Guo, Pleiss, Sun, Weinberger 2017, arXiv 1706.04599)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.axes.axis import Axis, AxisConfig, Reading, Trained
from bioplaus.experiments.experiment import Experiment


class CalibrationConfig(AxisConfig):
    """How confidences are grouped."""

    bins: int = Field(15, ge=2, le=1000, description="of equal width")


class Calibration(Axis[CalibrationConfig]):
    """Expected calibration error, confidence, and accuracy beside them, on the test split."""

    name = "calibration"
    Config = CalibrationConfig
    version = 1

    def supports(self, experiment: Experiment) -> str | None:
        return None if "classes" in experiment.task.gives else "there are no classes to be sure of"

    @torch.no_grad()
    def measure(self, trained: Trained, report: Callable[[float], None]) -> Mapping[str, Reading]:
        assert trained.data.test is not None
        x, y = trained.data.test.x, trained.data.test.y
        confidence, answer = trained.answers(x).double().softmax(1).max(1)
        right = (answer == y).double()
        report(1.0)
        return {
            "accuracy": Reading(right.mean(), words="right answers to the test split"),
            "confidence": Reading(confidence.mean(), words="mean confidence"),
            "ece": Reading(
                calibration_error(confidence, right, self.config.bins),
                words="expected calibration error",
            ),
        }


def calibration_error(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    """The expected calibration error; confidence on [0, 1] and right 0 or 1, (N,) each."""
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap = gap.index_add(0, place, (right - confidence).double())
    return gap.abs().sum() / len(confidence)
