"""The shapes that annotations promise, held to by a checker while rules and layers run."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError, jaxtyped

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Layer, LayerTrace
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import make_convolutional, make_network, random_batch

CHECKED = ("forward", "adjoint", "weight_grad", "trace", "solve", "preimage")

NETWORKS = [make_network((7, 6, 5, 4), "tanh", "mse", classes=3), make_convolutional()]
MIXED = (TypeCheckError, BeartypeCallHintViolation)


def checked(function: Any) -> Any:
    return jaxtyped(typechecker=beartype)(function)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer's methods, checked at each call."""
    for cls in {
        c for net in NETWORKS for k in net.layers for c in type(k).__mro__ if issubclass(c, Layer)
    }:
        for name in CHECKED:
            if name in vars(cls) and cls is not Layer:
                monkeypatch.setattr(cls, name, checked(vars(cls)[name]))


def fields(kind: type) -> Any:
    """The constructor of a named tuple as a function whose arguments are checked."""
    names = ", ".join(kind.__annotations__)
    scope: dict[str, Any] = {"kind": kind}
    exec(f"def make({names}): return kind({names})", scope)
    scope["make"].__annotations__ = get_type_hints(kind)
    return checked(scope["make"])


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("net", NETWORKS, ids=["dense", "convolutional"])
def test_a_pass_up_and_down_has_the_shapes_it_promises(net: Network) -> None:
    batch = random_batch(net, 5, 0)
    params = net.init(Stream(0))
    trace = net.forward(params, batch.x)
    d = trace[-1].output
    for l in reversed(range(net.depth)):
        layer, step = net.layers[l], trace[l]
        fields(LayerTrace)(*step)
        layer.weight_grad(step.residuals, d)
        d = layer.adjoint(net.at(params, l), step.residuals, d)
    error = net.loss.error(trace[-1].output, batch.y)
    fields(Batch)(*batch)
    fields(ForwardPass)(net, params, State({}, {}), batch, trace, error, {}, None)


@pytest.mark.usefixtures("watched")
def test_a_batch_of_another_size_is_caught() -> None:
    net = NETWORKS[0]
    params, x = net.init(Stream(0)), random_batch(net, 5, 0).x
    step = net.step(params, 0, x)
    for wrong in (step._replace(slope=step.slope[:3]), step._replace(output=step.output[:, :2])):
        with pytest.raises(MIXED):
            fields(LayerTrace)(*wrong)
    with pytest.raises(MIXED):
        net.layers[0].adjoint(net.at(params, 0), step.residuals, torch.ones(5, 6, dtype=torch.long))
