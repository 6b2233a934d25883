"""What a training took: operations and memory, for its records."""

from __future__ import annotations

import torch

from bioplaus.records.schema import Cost
from bioplaus.training.memory import peak_bytes
from bioplaus.training.stepper import Stepper
from bioplaus.training.trainer import Trainer


def step_flops(stepper: Stepper) -> int | None:
    """Of one replica's step, the mean over the steps so far; None where some are not traced."""
    work = stepper.work
    return None if work.flops is None else work.flops // (len(stepper.seeds) * work.steps)


def cost(trainer: Trainer) -> Cost:
    """What the training that is over took."""
    flops = step_flops(trainer.stepper)
    batch = trainer.budget.lesson.rows(trainer.budget.batch_size)
    forward = 2 * batch * sum(layer.multiply_adds() for layer in trainer.net.layers)
    on_cuda = trainer.device.type == "cuda"
    if on_cuda:
        peak: int | None = torch.cuda.max_memory_allocated(trainer.device)
    else:
        peak = peak_bytes(trainer.stepper, trainer.kept.values())
    return Cost(
        forward_equivalents=None if flops is None else flops / forward,
        step_flops=flops,
        peak_bytes=peak,
        peak_measured=on_cuda,
    )
