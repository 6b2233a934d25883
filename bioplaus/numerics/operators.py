"""Operators of torch made of functions, for vmap and compilers to take as a whole.

`torch.library.custom_op` does the same; an operator of it loads torch's compiler at its first
call, which takes seconds, and spends longer on each call than small products take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]


class Operator:
    """One operator: call it with tensors, or stacks of them."""

    def __init__(self, name: str, function: Function) -> None:
        """name: "bioplaus::solve"; the function changes none of its arguments and returns none."""
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(name, schema, tags=[torch.Tag.pt2_compliant_tag])
        torch.library.impl(name, "default", function)
        namespace, _, short = name.partition("::")
        self._name = name
        self._overload = getattr(getattr(torch.ops, namespace), short).default

    def __call__(self, *given: Any) -> Any:
        """Its result, by the door that vmap and traces watch."""
        return self._overload(*given)

    def register_fake(self, function: Function) -> Function:
        """How results look (shapes, types), for compilers."""
        torch.library.register_fake(self._name, function)
        return function

    def register_vmap(self, function: Function) -> Function:
        """How a stack is worked off: of the batch's facts, the arguments' axes and they."""
        torch.library.register_vmap(self._name, function)
        return function


def operator(name: str) -> Callable[[Function], Operator]:
    """Makes an operator of that name of a function: `@operator("bioplaus::solve")`."""
    return lambda function: Operator(name, function)
