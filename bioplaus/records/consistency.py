"""Whether what a file says can be true: a record, a tuning or a failure by itself.

What contradicts itself is refused in reading, with the reason. What only looks wrong beside
others is a doubt, see `bioplaus.records.doubts`; and what neither finds, `bioplaus verify`
finds by running it again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bioplaus.records.early_stops import stopped_otherwise
from bioplaus.records.metric import ACCURACY, Metric, metric_of
from bioplaus.records.schema import FailureRecord, Measurement, Record, Trial, Tuning

ROUNDING = 1e-9
"""Relative: what two ways to compute the same number may differ by."""
_MOST = 10**12
"""Of seeds and of examples: what is larger is no number of them."""
_NEEDED = ("task", "data", "rule", "options", "optimizer", "epochs", "precision")
"""What the configuration of every run has."""
_PAIR = re.compile(r"(?:^| )([A-Za-z_][\w.]*)=(.*?)(?= [A-Za-z_][\w.]*=|$)")
_SECTIONS = {"": "options", "optimizer": "optimizer", "aux_optimizer": "aux_optimizer",
             "task": "task"}  # fmt: skip

Curve = Sequence[float | None]


def contradictions(item: Record | Tuning | FailureRecord | Measurement) -> list[str]:
    """What in it cannot be true, a few words each; [] for nothing."""
    if isinstance(item, Measurement):
        return list(_of_measurement(item))
    configured = item.configuration.get("rule", item.rule)
    found = [f"the configuration is of the rule {configured!r}"] * (configured != item.rule)
    match item:
        case Record():
            return [*found, *_of_record(item)]
        case Tuning():
            return [*found, *_of_tuning(item)]
    return found


def is_whole(configuration: Mapping[str, Any]) -> bool:
    """Whether it is what a run writes; what is made by hand for a report may lack most of it."""
    return "rule_version" in configuration


def label_pairs(label: str) -> dict[str, str]:
    """`ortho=0.1 optimizer.betas=[0.8, 0.9]` -> {"ortho": "0.1", "optimizer.betas": ...}."""
    return dict(_PAIR.findall(label))


def _of_record(record: Record) -> Iterator[str]:
    yield from _accuracies(record)
    yield from _last_values(record)
    yield from _lengths(record)
    yield from _status(record)
    yield from _timing(record)
    if record.cost is not None and min(v or 0 for v in _cost(record)) < 0:
        yield "a cost is negative"
    yield from _group(record)
    if is_whole(record.configuration):
        yield from _configuration(record)


def _of_measurement(item: Measurement) -> Iterator[str]:
    if item.values.keys() != item.described.keys():
        yield "not every value is described, or what is described is not there"
        return
    for name, value in item.values.items():
        said = item.described[name]
        numbers = value if isinstance(value, list) else [value]
        places = len(value) if isinstance(value, list) else 0
        if len(said.at) != places or bool(said.over) != isinstance(value, list):
            yield f"{name} does not run over what it says"
        if said.share and any(v is not None and not 0.0 <= v <= 1.0 for v in numbers):
            yield f"{name} is not between 0 and 1"


def _cost(record: Record) -> tuple[float | None, ...]:
    cost = record.cost
    assert cost is not None
    return cost.forward_equivalents, cost.step_flops, cost.peak_bytes


def _accuracies(record: Record) -> Iterator[str]:
    for name in ("test_accuracy", "validation_accuracy"):
        curve = [getattr(record, name), *getattr(record.curves, name)]
        known = [value for value in curve if value is not None]
        if known and not (min(known) >= 0.0 and max(known) <= 1.0):
            yield f"{name} is not between 0 and 1"
    for curves in record.curves.alignment.values():
        for name, values in curves.items():
            known = [value for value in values if value is not None]
            if name.startswith("cosine.") and known and max(map(abs, known)) > 1 + 1e-5:
                yield f"{name} of the alignment is not between -1 and 1"


def _last_values(record: Record) -> Iterator[str]:
    pairs = {
        "test_accuracy": record.curves.test_accuracy,
        "validation_accuracy": record.curves.validation_accuracy,
        "train_loss": record.curves.metrics.get("loss", []),
    }
    for name, curve in pairs.items():
        result = getattr(record, name)
        if curve and curve[-1] != result:
            yield f"{name} is {result}, and its curve ends with {curve[-1]}"


def _lengths(record: Record) -> Iterator[str]:
    curves = record.curves
    lengths = {len(curves.test_accuracy), len(curves.validation_accuracy)}
    lengths |= {len(curve) for curve in curves.metrics.values()}
    lengths |= {len(c) for numbers in curves.alignment.values() for c in numbers.values()}
    if len(lengths) > 1:
        yield f"its curves have {min(lengths)} to {max(lengths)} epochs"


def _status(record: Record) -> Iterator[str]:
    epoch, epochs = record.diverged_epoch, len(record.curves.test_accuracy)
    if (record.status == "diverged") != (epoch is not None):
        yield f"its status is {record.status}, and the epoch in which it diverged {epoch}"
    elif epoch is not None and not 1 <= epoch <= epochs:
        yield f"it diverged in epoch {epoch} of {epochs}"


def _timing(record: Record) -> Iterator[str]:
    timing = record.timing
    seconds = (
        timing.group_train_seconds, timing.group_evaluation_seconds, timing.setup_seconds,
        timing.train_seconds,
    )  # fmt: skip
    if not 1 <= timing.group_size < _MOST or min(seconds) < 0:
        yield "a time is negative, or its group has no number of seeds"
        return
    share = timing.group_train_seconds / timing.group_size
    if not math.isclose(timing.train_seconds, share, rel_tol=ROUNDING, abs_tol=ROUNDING):
        yield (
            f"train_seconds is {timing.train_seconds:g}, and the share of its group's "
            f"{timing.group_train_seconds:g} s is {share:g}"
        )


def _group(record: Record) -> Iterator[str]:
    together = record.provenance.get("seeds_together")
    if together is None:
        return
    if not isinstance(together, list) or any(type(seed) is not int for seed in together):
        yield "seeds_together is no list of seeds"
    elif record.seed not in together or len(set(together)) != len(together):
        yield f"seeds_together does not hold seed {record.seed}, or holds one twice"
    elif len(together) != record.timing.group_size:
        size = record.timing.group_size
        yield f"{len(together)} seeds trained together, and group_size is {size}"


def _configuration(record: Record) -> Iterator[str]:
    content = record.configuration
    lacking = [name for name in _NEEDED if name not in content]
    if lacking:
        yield f"the configuration lacks {', '.join(lacking)}"
        return
    yield from _epochs(record, content["epochs"])
    yield from stopped_otherwise(record)
    yield from _sizes(record, content)
    yield from _label(record.label, content)


def _epochs(record: Record, epochs: object) -> Iterator[str]:
    trained = len(record.curves.test_accuracy)
    if record.early_stop is not None:
        trained += len(record.early_stop.validation_after)
    ended = epochs if record.early_stop is None else record.early_stop.stopped_epoch or epochs
    if record.status == "complete" and trained != ended:
        yield f"it is complete after {trained} epochs of {ended}"
    elif isinstance(epochs, int) and trained > epochs:
        yield f"it trained for {trained} epochs of {epochs}"
    if record.diverged_epoch is not None:
        after = record.curves.test_accuracy[record.diverged_epoch - 1 :]
        if any(value is not None for value in after):
            yield "it has an accuracy after it diverged"


def _sizes(record: Record, content: Mapping[str, Any]) -> Iterator[str]:
    """An accuracy is a number of right answers by the number of examples."""
    data = _mapping(content["data"])
    sizes, sums = _mapping(data.get("sizes")), _mapping(data.get("checksums"))
    if sums.get("test") is not None and sums.get("test") == sums.get("train"):
        yield "its test split is its training split"
    held_out = _mapping(content["task"]).get("validation", 0)
    if sizes.get("validation", held_out) != held_out:
        yield f"{held_out} examples are to be held out, and {sizes.get('validation')} were"
    for split in ("test", "validation"):
        size, curve = sizes.get(split), getattr(record.curves, f"{split}_accuracy")
        if type(size) is not int or size < 0:
            continue
        wrong = [v for v in curve if v is not None and not _is_share(v, size)]
        if wrong:
            yield f"{wrong[0]} is no share of {size} {split} examples"


def _is_share(value: float, size: int) -> bool:
    return 0.0 <= value <= 1.0 and 0 < size < _MOST and round(value * size) / size == value


def _label(label: str, content: Mapping[str, Any]) -> Iterator[str]:
    """A label is for people, so it must not say anything else than the configuration."""
    for name, text in label_pairs(label).items():
        value = labelled(name, content)
        if name == "file":
            known = str(content.get("rule_sha256", ""))[:8]
            if text.rpartition("@")[2] != known:
                yield f"the label names the file {text}, and the configuration {known or 'none'}"
        elif value is not None and str(value) != text:
            yield f"the label says {name}={text}, and the configuration {value}"


def labelled(name: str, content: Mapping[str, Any]) -> object:
    """What a configuration has under a label's name; None for nothing."""
    if name in ("epochs", "precision"):
        return content.get(name)
    # of the task, a part of a table too: task.pruning.sparsity
    of_task = name.startswith("task.")
    section, _, option = name.partition(".") if of_task else name.rpartition(".")
    found: Any = content.get(_SECTIONS.get(section, ""))
    for part in option.split(".") if of_task else [option]:
        found = _mapping(found).get(part)
    return found


def _of_tuning(tuning: Tuning) -> Iterator[str]:
    budget, trials = tuning.budget, tuning.trials
    if [t.number for t in trials] != list(range(budget.trials)):
        yield f"{budget.trials} trials were to be made, and it holds {len(trials)}"
        return
    metric = metric_of(tuning.configuration)
    for trial in trials:
        yield from _of_trial(trial, budget.seeds, metric)
    scored = [t for t in trials if t.validation_accuracy is not None]
    best = max(scored, default=None,
               key=lambda t: (metric.merit(t.validation_accuracy or 0.0), -t.number))  # fmt: skip
    if best is not None and tuning.chosen != best.settings:
        yield f"trial {best.number} is the best, and another was chosen"
    if trials[0].settings:
        yield "trial 0 is not the default configuration"
    stray = {name for t in trials for name in t.settings} - tuning.space.keys()
    if stray:
        yield f"trials set {', '.join(sorted(stray))}, which the search space has not"
    content = tuning.configuration
    if content.get("budget", budget.model_dump()) != budget.model_dump():
        yield "the budget is not that of the configuration"
    if bool(budget.each_seed) != (type(content.get("study")) is int):
        yield "it is for one seed, or for all, by its budget, and not by its configuration"
    if content.get("space", tuning.space) != tuning.space:
        yield "the search space is not that of the configuration"
    if is_whole(content) and not _mapping(content.get("task")).get("validation"):
        yield "its task holds no examples out to choose on"


def _of_trial(trial: Trial, seeds: int, metric: Metric) -> Iterator[str]:
    what = f"trial {trial.number}"
    if len(trial.seeds) != seeds:
        yield f"{what} has {len(trial.seeds)} seeds of {seeds}"
        return
    least, most = metric.least, metric.most
    if any(value is not None and not least <= value <= most for value in trial.seeds):
        between = "an accuracy" if metric == ACCURACY else f"a {metric.words}"
        yield f"{what} has {between} that is not between {least:g} and {most:g}"
    mean = sum(value or 0.0 for value in trial.seeds) / seeds
    failed, lost = trial.status == "failed", None in trial.seeds
    none = failed or (lost and metric != ACCURACY)
    if none != (trial.validation_accuracy is None):
        yield f"{what} is {trial.status}, with an accuracy of {trial.validation_accuracy}"
    elif not none and not math.isclose(trial.validation_accuracy or 0.0, mean, abs_tol=ROUNDING):
        yield f"{what} scores {trial.validation_accuracy}, and its seeds {mean:g} in the mean"
    elif not failed and lost != (trial.status == "diverged"):
        yield f"{what} is {trial.status}, and its seeds say otherwise"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
