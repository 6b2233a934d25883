"""What happens after an epoch: replicas are measured, and the best of their networks kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bioplaus.learning.alignment import AlignmentProbe
from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.training.budget import Budget
from bioplaus.training.evaluation import ProbeProgram
from bioplaus.training.kept import Kept
from bioplaus.training.marking import Marking, Marks
from bioplaus.training.progress import Splits
from bioplaus.training.seed_outcome import Outcome, note_end, note_epoch, note_hindsight
from bioplaus.training.stepper import Stepper


class AfterEpoch:
    """Notes in the outcomes what an epoch has brought: here alone the host waits for the device."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        splits: Splits,
        budget: Budget,
        stepper: Stepper,
        capture: bool,
        probe: bool,
    ) -> None:
        """capture: replay CUDA graphs on such a device. probe: compare updates with gradients."""
        self._budget, self._stepper = budget, stepper
        self._marking = _marking(rule, net, splits, budget, stepper, capture)
        self._probe = _probe(rule, net, splits, budget, stepper, capture) if probe else None
        self._kept = Kept(budget.stopping) if budget.stopping else None

    def __call__(
        self,
        outcomes: Sequence[Outcome],
        epoch: int,
        means: Mapping[str, Sequence[float]],
        finite: Sequence[bool],
    ) -> None:
        """means: of what the rule reports, each replica's. finite: whether its loss was."""
        params, state, lesson = self._stepper.params, self._stepper.state, self._budget.lesson
        marks: Marks = {}
        alignment: dict[str, dict[str, list[float]]] = {}
        if self._budget.is_evaluated(epoch):
            marks = self._marking.after_epoch(params, state)
            if epoch == self._budget.epochs and self._kept is None:
                marks |= self._marking.at_the_end(params, state)
            alignment = self._probe(params, state) if self._probe else {}
        healthy = [a and b for a, b in zip(self._finite().tolist(), finite, strict=True)]
        note_epoch(outcomes, epoch, means, marks, alignment, healthy)
        note_hindsight(outcomes, epoch, lesson.looking_back)
        if self._kept is not None and (self._budget.is_evaluated(epoch) or epoch == 1):
            self._kept.note(outcomes, epoch, params, state)

    def end(self, outcomes: Sequence[Outcome]) -> tuple[Params, State]:
        """The networks that are the result, stacked; the curves end with them."""
        params, state = self._stepper.params, self._stepper.state
        if self._kept is not None:
            params, state = self._kept.networks(params, state)
            self._kept.close(outcomes)
            if any(outcome.diverged_epoch is None for outcome in outcomes):
                note_end(outcomes, self._marking.at_the_end(params, state))
        return params, state

    def _finite(self) -> Tensor:
        """Whether all parameters of a replica are, (R,)."""
        tensors = self._stepper.params.values()
        # 0, or NaN: quicker than asking each number
        found = torch.stack([(t.flatten(1) * 0).sum(1) for t in tensors])
        return found.isfinite().all(0)

    def snapshot(self) -> dict[str, Tensor]:
        """What of it the rest of the training depends on; shares storage with it."""
        return self._kept.snapshot() if self._kept else {}

    def restore(self, snapshot: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from a snapshot."""
        if self._kept is not None:
            self._kept.restore(snapshot, device)


def _marking(
    rule: Rule, net: Network, splits: Splits, budget: Budget, stepper: Stepper, capture: bool
) -> Marking:
    others = {"validation": splits.validation, "test": splits.test}
    given = budget.lesson, splits.train, others, stepper.params, stepper.seeds
    return Marking(rule, net, *given, stepper.measurement, capture)


def _probe(
    rule: Rule, net: Network, splits: Splits, budget: Budget, stepper: Stepper, capture: bool
) -> ProbeProgram:
    # the same training examples for every rule and seed
    order = Stream(0).at("probe").permutation(len(splits.train))
    device = splits.train.x.device
    batch = stepper.probe_batch(order[: budget.batch_size].to(device))
    probe = AlignmentProbe(rule, net, stepper.params, batch, stepper.seeds)
    names = [list(part) for part in (stepper.params, *stepper.state)]
    return ProbeProgram(probe, names, stepper.measurement, device, capture)
