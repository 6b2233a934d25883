"""What people have their data in, as tensors: numpy arrays, lists, other integer types."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bioplaus.errors import DataError, shown


class InvalidExamples(DataError):
    """Examples or labels that cannot be trained on."""


_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "float128": "float64"}
"""numpy's types that torch has not, or hardly."""


def as_tensor(values: Any, what: str) -> Tensor:
    """A tensor of numbers: of a tensor itself, a numpy array, or lists of numbers.

    what: "examples" or "labels", for InvalidExamples: text, objects, complex numbers, nothing.
    """
    if isinstance(values, Tensor):
        if values.is_complex() or values.layout != torch.strided:
            kind = "complex numbers" if values.is_complex() else f"of layout {values.layout}"
            raise InvalidExamples(f"{what} are {kind}, due is a dense tensor of real numbers")
        if values.is_meta:
            raise InvalidExamples(f"{what} are on torch's meta device, which keeps no values")
        return values.detach()
    import numpy as np

    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise InvalidExamples(f"{what} are rows of different lengths, {_DUE}") from None
    if array.dtype.kind in "US":
        some = ", ".join(map(repr, array.flatten()[:3].tolist()))
        many = "class names, number them" if what == "labels" else "numbers in text, convert them"
        raise InvalidExamples(f"{what} are text ({shown(some, 60)}), {_DUE}: {many} first")
    if array.dtype.kind not in "buif":
        kind = type(values).__name__ if array.ndim == 0 else f"an array of {array.dtype}"
        way = ": np.array(x.tolist(), 'float32'), if all are numbers" if array.ndim else ""
        raise InvalidExamples(f"{what} are {kind}, {_DUE}{way}")
    if array.dtype.name in _WIDER:
        array = array.astype(_WIDER[array.dtype.name])
    # torch takes neither other byte orders nor steps backwards, and must not write into these
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))


_DUE = "due is a tensor or numpy array of numbers"


def whole_numbers(labels: Tensor) -> Tensor:
    """Labels of any integer type as int64; others as they are."""
    integer = not (labels.is_floating_point() or labels.dtype == torch.bool)
    return labels.long() if integer else labels
