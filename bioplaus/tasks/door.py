"""Where datasets come in: what a plugin declares and hands over, checked by one function each."""

from __future__ import annotations

import math
from typing import Any

from bioplaus.errors import BioplausError, DataError, PluginError, shown
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.system.blame import blaming, described, files_of
from bioplaus.tasks.dataset import Dataset, InvalidExamples, Split, SplitName

_LOADED_TWICE = 64 * 2**20
"""Bytes up to which a split is loaded again, to see whether it is the same."""


def load_dataset(name: str) -> Dataset:
    """The dataset plugin of that name.

    Raises UnknownNameError; PluginError where it does not load, or declares no data.
    """
    plugin = registry.find("dataset", name)
    cls = plugin.load()
    if wrong := fault(cls, Dataset, "bioplaus.Dataset"):
        raise PluginError(f"{plugin.title}: {wrong}")
    with blaming(f"{plugin.title} cannot be made without arguments, so give them defaults", cls):
        dataset: Dataset = cls()
    if wrong := _wrong_declaration(dataset):
        raise PluginError(f"{plugin.title}: {wrong}")
    return dataset


def _wrong_declaration(dataset: Dataset) -> str | None:
    """What is wrong with `shape`, `classes` or `scale`; None for nothing."""
    shape, classes, scale = (getattr(dataset, n, None) for n in ("shape", "classes", "scale"))
    sizes = shape if isinstance(shape, tuple | list) else ()
    if not sizes or not all(_is_count(size) for size in sizes):
        return (
            f"`shape` is {shown(repr(shape), 60)}, due is that of one example, in whole numbers "
            "from 1: (features,) or (channels, height, width)"
        )
    if not _is_count(classes):
        return f"`classes` is {shown(repr(classes), 60)}, due is how many there are"
    if dataset.targets not in ("classes", "values"):
        return f"`targets` is {shown(repr(dataset.targets), 60)}, due is 'classes' or 'values'"
    number = scale if isinstance(scale, int | float) and not isinstance(scale, bool) else 0
    if not (number and math.isfinite(number)):
        return f"`scale` is {shown(repr(scale), 60)}, due is a number such as 1 / 255"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def load_split(dataset: Dataset, which: SplitName) -> Split:
    """A split as the dataset hands it over: a `Split`, or examples and labels in a pair.

    Arrays and integer labels of any type are converted. DataError, naming the dataset, what
    is due and what came, for anything else: nothing, text, other shapes than declared, no
    examples, labels that are no class indices, NaN, whatever `load` raises; and for other examples
    at a second call, which is made where a split is small.
    """
    title = f"the {which} split of {dataset.name}"
    given = _loaded(dataset, which, title)
    try:
        split = _as_split(given)
        _check_shape(split, tuple(dataset.shape))
        (split.check_values if dataset.targets == "values" else split.check)(dataset.classes)
        if split.x.nbytes <= _LOADED_TWICE and not _is_ours(dataset):
            _check_same(split, _loaded(dataset, which, title))
    except InvalidExamples as error:
        raise DataError(f"{title}: {error}") from None
    return split


def _loaded(dataset: Dataset, which: SplitName, title: str) -> Any:
    """What the plugin gives; DataError for whatever it raises."""
    try:
        return dataset.load(which)
    except InvalidExamples as error:
        raise DataError(f"{title}: {error}") from None
    except BioplausError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        raise DataError(
            f"{title} cannot be loaded: {described(error, files_of(dataset))}; where data are "
            "missing or damaged, `load` should raise bioplaus.DataError and say what to do"
        ) from error


def _check_same(split: Split, again: Any) -> None:
    if split.checksum != _as_split(again).checksum:
        raise InvalidExamples(
            "`load` gives other examples each time it is called, and all rules must see the same: "
            "draw them from a generator with a seed, np.random.default_rng(0) say"
        )


def _is_ours(dataset: Dataset) -> bool:
    return type(dataset).__module__.startswith("bioplaus.datasets.")


def check_alike(train: Split, test: Split, name: str) -> None:
    """DataError where the splits are of different types: one scale is for both."""
    if train.x.dtype != test.x.dtype:
        raise DataError(
            f"the train split of {name} is of {train.x.dtype} and the test split of "
            f"{test.x.dtype}; both are multiplied by the one `scale`: store them alike"
        )


def _as_split(given: Any) -> Split:
    if isinstance(given, Split):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        return Split(*given)
    raise InvalidExamples(
        f"`load` returned {_in_words(given)}, due is bioplaus.Split(x, y) with all examples and "
        "their class indices"
    )


def _in_words(given: Any) -> str:
    if given is None:
        return "None (is a `return` missing?)"
    size = f" of {len(given)}" if isinstance(given, tuple | list | dict) else ""
    return f"a {type(given).__name__}{size}"


def _check_shape(split: Split, due: tuple[int, ...]) -> None:
    if not len(split):
        raise InvalidExamples("it holds no examples, due is one at least in each split")
    shape = tuple(split.x.shape[1:])
    if shape == due:
        return
    hint = (
        f"x.reshape(-1, {', '.join(map(str, due))})" if math.prod(shape) == math.prod(due) else ""
    )
    if len(due) == 3 and shape == (*due[1:], due[0]) and due[0] > 1:
        hint = "x.permute(0, 3, 1, 2), as channels stand first"
    way = f"return {hint}" if hint else f"declare shape = {shape}, or return that"
    raise InvalidExamples(f"examples have the shape {shape}, declared is {due}: {way}")
