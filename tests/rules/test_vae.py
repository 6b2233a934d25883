"""The variational autoencoder: its gradients are autograd's of the evidence bound."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import Identity, parse_activation
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.vae import Vae
from bioplaus.tasks.task import read_task
from tests.helpers.networks import EXACT, every_seed, rel

TANH = parse_activation("tanh")
LAYERS = (Dense(9, 7, TANH), Dense(7, 8, TANH), Dense(8, 5), Dense(5, 9, Identity(), bias=False))
NET = Network(LAYERS, get_loss("mse"), 9)
ROWS = 6


@every_seed
def test_it_descends_the_evidence_bound(seed: int) -> None:
    """Written out with torch's own normal distributions, whose KL is theirs."""
    rule, stream = Vae.configured({"beta": 0.7}), Stream(seed)
    params = NET.init(stream.at("net"))
    drawn = rule.init_state(NET, params, stream.at("state"))
    aux = {n: t + 0.3 * stream.at("aux", n).normal(t.shape) for n, t in drawn.aux.items()}
    x = stream.at("x").normal((ROWS, 9))
    noise = {"code": stream.at("code").normal(rule.noise(NET, ROWS)["code"].shape)}
    update = rule.update(NET, params, State(aux, {}), Batch(x, x), noise)

    free = {n: t.clone().requires_grad_() for n, t in {**params, **aux}.items()}
    h = torch.tanh(x @ free["1.weight"].T + free["1.bias"])
    h = torch.tanh(h @ free["2.weight"].T + free["2.bias"])
    mu = h @ free["3.weight"].T + free["3.bias"]
    v = 10 * torch.tanh((h @ free["head.weight"].T + free["head.bias"]) / 10)
    deviation = (0.5 * v).exp()
    z = mu + deviation * noise["code"]
    code = torch.distributions.Normal(mu, deviation)
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    seen = torch.distributions.Normal(z @ free["4.weight"].T, free["log_sigma"].exp())
    kl = torch.distributions.kl_divergence(code, prior).sum(1)
    bound = (-seen.log_prob(x).sum(1) + 0.7 * kl).mean()
    due = dict(zip(free, torch.autograd.grad(bound, list(free.values())), strict=True))
    found = {**update.grads, **update.aux_grads}
    assert set(found) == set(due)
    for name, grad in due.items():
        assert rel(found[name], grad) <= EXACT, name
    constant = 9 / 2 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    assert rel(update.metrics["free_energy"] + constant, bound.detach()) <= EXACT
    objective = rule.objective_at(NET, params, State(aux, {}), Batch(x, x), noise)
    assert torch.equal(objective, update.metrics["free_energy"])
    assert rel(update.metrics["divergence"], kl.mean().detach()) <= EXACT


def test_who_it_trains() -> None:
    assert configure("vae", read_task("digits-vae"), {}).rule.name == "vae"
    for task in ("digits-mlp", "digits-reconstruction"):
        with pytest.raises(UnsupportedError, match="whole examples"):
            configure("vae", read_task(task), {})
    shallow = Network((Dense(9, 5), Dense(5, 9)), get_loss("mse"), 9)
    assert "code" in str(Vae.configured().supports(shallow))
