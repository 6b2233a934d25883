"""An accelerator as the CPU can play it: operators that may not look, products that round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bioplaus.numerics import refinement

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
}


class RoundedProducts(TorchDispatchMode):
    """Products whose factors are rounded to TF32's 10 bits, as tensor cores round them.

    An operator of ours is one call here, and what it does inside is not rounded.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in PRODUCTS:
            args = (*args[:-2], *(rounded(factor) for factor in args[-2:]))
        return func(*args, **(kwargs or {}))


def rounded(tensor: Tensor) -> Tensor:
    """float32 with 10 bits of mantissa, to the nearest."""
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def play_accelerator(monkeypatch: pytest.MonkeyPatch, precision: str = "fp32") -> None:
    """From now on no operator looks; in tf32 the code takes products to round (see above)."""
    monkeypatch.setattr(refinement, "operator_looks", lambda matrix: False)
    rounds = precision == "tf32"
    monkeypatch.setattr(refinement, "products_round", lambda m: rounds and m.dtype == torch.float32)
