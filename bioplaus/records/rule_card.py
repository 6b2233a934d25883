"""Facts on a rule for boards: what it declares, and what of that was measured."""

from __future__ import annotations

from functools import lru_cache

import torch

from bioplaus.learning.batching import NoiseSource, Rule, unstack
from bioplaus.learning.profile_measurements import Setting, derivative_use, weight_transport
from bioplaus.learning.rule import Batch, LayeredRule
from bioplaus.network.layer import Init
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.toml_layers import DenseSpec, build_layers
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.records.schema import RuleCard

ROUNDING = 1e-12
"""What a change may be, relative, where there is no dependence: float64 arithmetic."""

_SHAPES = (
    ((12, 12, 12, 12), "leaky_relu(0.1)", "mse"),
    ((12, 14, 10, 6), "tanh", "cross_entropy"),
    ((12, 14, 10, 6), "sigmoid", "mse"),
    ((12, 14, 10, 6), "relu", "cross_entropy"),
)
"""Widths, activation and loss: a rule is measured on the first of these that it supports."""
_EXAMPLES = 5
"""Fewer than any layer has inputs, as the measurements need."""
_CLASSES = 4


def rule_card(rule: Rule) -> RuleCard:
    """The card of a rule as configured."""
    name = rule.name
    summary = registry.find("rule", name).summary() if name in registry.names("rule") else ""
    return RuleCard(
        summary=summary,
        citation=rule.citation.model_dump(mode="json"),
        plausibility=rule.plausibility.model_dump(mode="json"),
        tested=dict(_tested(type(rule), rule.config.model_dump_json())),
        published=list(rule.published),
    )


@lru_cache(maxsize=256)
def _tested(cls: type[Rule], options: str) -> tuple[tuple[str, object], ...]:
    rule = cls(cls.Config.model_validate_json(options))
    try:
        return tuple(tested(rule).items())
    except Exception:  # a stranger's rule may fail on networks that it was not asked to train
        return ()


def tested(rule: Rule) -> dict[str, object]:
    """The profile's properties that can be measured, as measured: `weight_transport` and
    `needs_derivative`, with the values that `Plausibility` has for them.

    But for one: where more than the signs matters, the transport is `exact`. Transpose and
    inverse are not told apart. {} for a rule whose activities relax, where what is
    changed would be felt by the forward pass too, and for one that suits none of the
    networks here.
    """
    if not isinstance(rule, LayeredRule):
        return {}
    for widths, activation, loss in _SHAPES:
        net = _network(widths, activation, loss)
        if rule.supports(net) is None:
            break
    else:
        return {}
    with torch.no_grad():
        at = _setting(rule, net)
        transport = weight_transport(rule, at, Stream(0).at("profile"))
        slope = derivative_use(rule, at)
    return {
        "weight_transport": _strongest(
            "none", sign=transport.signs_flipped, exact=transport.signs_kept
        ),
        "needs_derivative": _strongest("no", local=slope.own, transport=slope.elsewhere),
    }


def _strongest(nothing: str, **changes: float) -> str:
    """The last name whose change is more than rounding."""
    felt = [name for name, change in changes.items() if change > ROUNDING]
    return felt[-1] if felt else nothing


def _network(widths: tuple[int, ...], activation: str, loss: str) -> Network:
    top = activation if loss == "mse" else "identity"
    kinds = [activation] * (len(widths) - 2) + [top]
    specs = tuple(
        DenseSpec(units=n, activation=kind) for n, kind in zip(widths[1:], kinds, strict=True)
    )
    layers = build_layers(specs, (widths[0],))
    return Network(layers, get_loss(loss), _CLASSES, Init("xavier_normal"))


def _setting(rule: Rule, net: Network) -> Setting:
    stream = Stream(0).at("profile")
    params = {
        name: 0.5 * stream.at(name).normal(tensor.shape) if name.endswith("bias") else tensor
        for name, tensor in net.init(stream.at("parameters")).items()
    }
    state = rule.init_state(net, params, stream.at("state"))
    x = stream.at("x").normal((_EXAMPLES, *net.in_shape))
    labels = torch.arange(_EXAMPLES) % net.classes
    batch = Batch(x, torch.nn.functional.one_hot(labels, net.classes).double())
    specs = rule.noise(net, _EXAMPLES)
    noise = NoiseSource(specs, [0], torch.float64, torch.device("cpu")).at(0)
    return Setting(net, params, state, batch, unstack(noise, 0))
