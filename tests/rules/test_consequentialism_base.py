"""The consequentialism wrapper and its base rule: what is the base's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, RuleConfig, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from tests.helpers.networks import (
    get_rule,
    make_network,
    noise_for,
    random_batch,
    random_params,
    worst,
)

LEAKY = "leaky_relu(0.1)"


@pytest.mark.parametrize(
    ("base", "options"),
    [
        ("feedback-alignment", {}),
        ("gaitprop", {"inverse": "learned"}),
        ("targetprop", {"noise": 0.2}),
        ("targetprop-exact", {}),
    ],
)
def test_state_noise_and_penalty_are_the_base_rules(base: str, options: dict[str, object]) -> None:
    net = make_network((8, 8, 8), LEAKY, "mse")
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    rule, plain = (
        get_rule("consequentialism", base=base, options=options),
        get_rule(base, **options),
    )
    state, expected = (r.init_state(net, params, Stream(0).at("state")) for r in (rule, plain))
    assert worst(state.aux, expected.aux) == worst(state.memory, expected.memory) == 0
    assert rule.noise(net, 5) == plain.noise(net, 5)
    assert rule.aux_optimizer == plain.aux_optimizer
    noise = noise_for(plain, net, batch)
    ours, theirs = (r.update(net, params, state, batch, noise) for r in (rule, plain))
    for field in ("penalty", "aux_grads", "memory", "metrics"):
        assert worst(getattr(ours, field), getattr(theirs, field)) == 0
    assert worst(ours.grads, theirs.grads) > 1e-3


class Recorder(LayeredRule[RuleConfig]):
    """A rule with a prediction, refresh, memory and objective of its own."""

    name = "recorder"
    refresh_every = 7
    citation = Citation(authors="-", title="-", year=2000)
    seen: ClassVar[list[str]] = []

    @property
    def plausibility(self) -> Plausibility:
        return get_rule("feedback-alignment").plausibility

    def supports(self, net: Network) -> str | None:
        return "it records" if net.depth == 1 else None

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return [step.output for step in fwd.trace]

    def next_memory(self, fwd: ForwardPass) -> Params:
        return {"count": fwd.state.memory["count"] + 1}

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        return -net.output(params, x)

    def refresh(
        self, net: Network, params: Params, state: State, batch: Batch, stream: Stream
    ) -> State:
        return State({}, {"count": batch.x.sum()})

    def objective(self, net: Network, params: Params, batch: Batch) -> Tensor | None:
        return params["1.weight"].sum()


class OwnUpdate(Recorder):
    """One that does not learn from its deltas."""

    name = "own-update"

    def weight_grads(self, fwd: ForwardPass, deltas: Sequence[Tensor]) -> Params:
        return {}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    load = registry.load
    local = {"recorder": Recorder, "own-update": OwnUpdate}
    monkeypatch.setattr(registry, "load", lambda kind, name: local.get(name) or load(kind, name))


@pytest.mark.usefixtures("recorder")
def test_prediction_refresh_memory_and_objective_are_the_base_rules() -> None:
    net = make_network((8, 8, 8), LEAKY, "mse")
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    rule = get_rule("consequentialism", base="recorder")
    state = State({}, {"count": torch.zeros(())})
    assert rule.refresh_every == 7
    assert rule.supports(make_network((8, 8), LEAKY, "mse")) == "it records"
    assert torch.equal(rule.predict(net, params, state, batch.x), -net.output(params, batch.x))
    assert rule.update(net, params, state, batch, {}).memory["count"] == 1
    refreshed = rule.refresh(net, params, state, batch, Stream(0))
    assert refreshed.memory["count"] == batch.x.sum()
    assert rule.objective(net, params, batch) == params["1.weight"].sum()


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("base", ["predictive-coding", "consequentialism", "own-update"])
def test_a_base_that_does_not_learn_from_deltas_alone_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match=base):
        get_rule("consequentialism", base=base)


def test_bad_names_and_options_of_the_base_are_told() -> None:
    with pytest.raises(UnknownNameError, match="backprp"):
        get_rule("consequentialism", base="backprp")
    with pytest.raises(UnknownNameError, match="gama"):
        get_rule("consequentialism", base="gaitprop", options={"gama": 1})
    with pytest.raises(ConfigError, match="gaitprop"):
        get_rule("consequentialism", base="gaitprop", options={"gamma": -1})


def test_the_configuration_holds_all_options_of_the_base() -> None:
    rule = get_rule("consequentialism", base="gaitprop", options={"gamma": 1e-2})
    options = rule.config.model_dump()["options"]
    assert options == get_rule("gaitprop", gamma=1e-2).config.model_dump(mode="json")
    assert get_rule("consequentialism").config.model_dump()["options"] == {}


def test_it_is_not_local_whatever_its_base() -> None:
    profile = get_rule("consequentialism", base="feedback-alignment").plausibility
    assert not profile.local
    assert "non-plausible control" in profile.note
    assert profile.weight_transport == "none"
