"""Whether a network gives what the model that it was read from gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bioplaus.errors import ModelError
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params
from bioplaus.network.network import Network, Trace
from bioplaus.own_model.reader import Reading, place_of

_EXAMPLES = 3
_TOLERANCE = 1e-8
"""Of the largest output; both sides compute in float64."""


@torch.no_grad()
def check_forward(model: nn.Module, net: Network, reading: Reading) -> None:
    """ModelError naming the first module at which the network leaves the model's forward pass.

    Both see a few random examples, in float64, in the mode that the model is in;
    dropout is off. Nothing is changed: running statistics and random states stay.
    """
    own = _copies(model)
    some = next(iter(reading.parameters.values()))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_EXAMPLES, *reading.shape, generator=generator, dtype=torch.float64).to(
        some.device
    )
    norms = Norms((model.get_submodule(place.name) for place in reading.places), net)
    params = {name: p.detach().double() for name, p in reading.parameters.items()}
    running = {name: t.double() for name, t in norms.running(training=True).items()}
    trace = net.forward(params | running, x.reshape(-1, *net.in_shape))
    with _silent_dropout(model):
        try:
            output = _call(model, own, x)
        except Exception as error:  # the model's own code may raise anything
            line = str(error).partition("\n")[0]
            raise ModelError(
                f"the model itself fails on a batch of {tuple(x.shape)}: {line}"
            ) from None
        if not _equal(trace[-1].output, output):
            where = _first_difference(model, own, x, trace, reading)
            raise ModelError(
                f"{where}: it gives something else than its type and parameters say, so that no "
                "learning rule can stand for it"
            )


def _copies(model: nn.Module) -> Params:
    """Parameters and buffers in float64, under each name of a tied one."""
    copies: dict[int, Tensor] = {}
    named: Params = {}
    for prefix, module in model.named_modules():
        for part in (module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            for name, tensor in part:
                if id(tensor) not in copies:
                    exact = torch.float64 if tensor.is_floating_point() else tensor.dtype
                    copies[id(tensor)] = tensor.detach().to(exact, copy=True)
                named[f"{prefix}.{name}" if prefix else name] = copies[id(tensor)]
    return named


def _call(model: nn.Module, own: Params, x: Tensor) -> object:
    # ties are in `own` already: torch's way of tying leaves a module that stands twice changed
    return functional_call(model, own, (x,), tie_weights=False)


def _equal(ours: Tensor, theirs: object) -> bool:
    if not isinstance(theirs, Tensor) or ours.shape != theirs.shape:
        return False
    finite = theirs[theirs.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 1.0
    return torch.allclose(ours, theirs, rtol=0, atol=_TOLERANCE * max(scale, 1e-30), equal_nan=True)


def _first_difference(
    model: nn.Module, own: Params, x: Tensor, trace: Trace, reading: Reading
) -> str:
    """The first module whose output is not what the network has there, else the model itself."""
    modules = dict(model.named_modules(remove_duplicate=False))
    seen: dict[nn.Module, list[object]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, _, output: seen.setdefault(module, []).append(output)
        )
        for module in {modules[place.name] for place in reading.places}
    ]
    try:
        _call(model, own, x)
    finally:
        for handle in handles:
            handle.remove()
    for place in reading.places:
        module, step = modules[place.name], trace[place.layer]
        outputs = seen.get(module, [])
        ours = (step.output if place.active else step.preactivation).flatten(1)[:, -place.units :]
        theirs = outputs.pop(0) if outputs else None
        if not isinstance(theirs, Tensor) or not _equal(ours, theirs.flatten(1)):
            return place_of(module, place.name)
    return place_of(model, "")


@contextmanager
def _silent_dropout(model: nn.Module) -> Iterator[None]:
    dropping = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.training]
    for module in dropping:
        module.training = False
    try:
        yield
    finally:
        for module in dropping:
            module.training = True
