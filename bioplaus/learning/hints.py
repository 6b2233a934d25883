"""What to do about what torch and the harness say of a rule that breaks the contract."""

from __future__ import annotations

HINTS = {
    "called random operation": "declare the random numbers in `noise` and take them from "
    "update's `noise` argument: a call of torch.rand is one draw for all replicas, and "
    "cannot be repeated",
    "calling .item() on a tensor": "keep numbers as tensors: no .item(), float(tensor) or "
    ".tolist() inside `update`; return what you want to see in `metrics`",
    "data-dependent control flow": "no Python `if` or `while` on a tensor's value: use "
    "torch.where, and a fixed number of iterations",
    "performance drop": "vmap has no batching rule for this operation and would loop over the "
    "replicas: use another one",
    "inplace arithmetic": "change nothing in place inside `update`: x = x + y, not x += y",
    "backward() called": "no .backward() inside `update`: take torch.func.grad of a function",
    "in-place": "change nothing in place inside `update`: x = x + y, not x += y",
    "data pointer": "stay in torch: no .numpy() inside `update`",
    "do not match by name and shape": "return one tensor for each tensor that is due, under the "
    "same name and of the same shape (`grads` as `params`, `aux_grads` as `state.aux`, `memory` "
    "as `state.memory`)",
    "no metric 'loss'": 'put the batch\'s loss into the update: metrics={"loss": ...}',
    "tensors only": "vmap takes tensors only: no None, numbers or text in a state or an update",
    "incompatible return type": "vmap takes tensors only: no None, numbers or text in an update",
}
"""Part of a message, in small letters -> what to do."""


def hint_for(message: str) -> str:
    """What to do, where a message is known; else ''."""
    return next((hint for mark, hint in HINTS.items() if mark in message.lower()), "")
