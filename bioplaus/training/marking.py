"""What is measured of every replica after an epoch, and once more after the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.dataset import Split
from bioplaus.training.evaluation import Examination, NewProgram
from bioplaus.training.lesson import Lesson
from bioplaus.training.probing import Probing
from bioplaus.training.spike_count import SpikeCount, is_counted

Marks = dict[str, list[float | None]]
"""Name -> each replica's number: "test_accuracy", "validation_r2", ..."""


class Marking:
    """The exams of a lesson, its probes where it has any, and what an inference costs in spikes."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        lesson: Lesson,
        train: Split,
        others: Mapping[str, Split | None],
        initial: Params,
        seeds: Sequence[int],
        program: NewProgram,
        capture: bool,
    ) -> None:
        """others: "validation" and "test", None where there is none. initial: stacked."""
        there = {name: split for name, split in others.items() if split is not None}
        asked = {name: lesson.exam(split, name, train, net) for name, split in there.items()}
        exams = {name: exam for name, exam in asked.items() if exam is not None}
        layer = lesson.probed(net)
        self._exams, self._probing, self._spikes = None, None, None
        if exams:
            self._exams = Examination(rule, net, lesson, exams, seeds, program, capture)
        if there and layer is not None:
            self._probing = Probing(rule, net, {"train": train, **there}, layer, initial)
        if "test" in there and is_counted(rule, net):
            self._spikes = SpikeCount(rule, net, there["test"], seeds)

    def after_epoch(self, params: Params, state: State) -> Marks:
        """{} where there is no split to measure on."""
        marks: Marks = {}
        if self._exams is not None:
            marks |= {n: v.tolist() for n, v in self._exams(params, state).items()}
        if self._probing is not None:
            marks |= self._probing.after_epoch(params, state)
        return marks

    def at_the_end(self, params: Params, state: State) -> Marks:
        """What is measured of the networks that are the result alone."""
        marks: Marks = {}
        if self._probing is not None:
            marks |= self._probing.at_the_end(params, state)
        if self._spikes is not None:
            marks |= self._spikes(params)
        return marks
