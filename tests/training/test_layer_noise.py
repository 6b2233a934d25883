"""What layers want of random numbers, dropout and Bernoulli encoders: drawn by the harness."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.learning.batching import NoiseSource, batched_update, stacked_initial, unstack
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, NoiseSpec, State
from bioplaus.network.activations import Tanh
from bioplaus.network.dropout import Dropout
from bioplaus.network.layer import Dense, Layer
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.tasks.task import read_task
from bioplaus.testing.networks import synthetic
from bioplaus.training.budget import Budget
from bioplaus.training.trainer import Splits, Trainer
from tests.helpers.networks import get_rule, random_batch, rel, worst
from tests.helpers.spiking import spiking_network

CPU = torch.device("cpu")
DROPPING: tuple[Layer, ...] = (Dense(7, 6, Tanh()), Dropout((6,), 0.5), Dense(6, 4))
NETWORKS = {
    "dropout": Network(DROPPING, get_loss("cross_entropy"), 4),
    "bernoulli": spiking_network((7, 9, 4), Neuron(0.8, 0.5), 6, how="bernoulli"),
}
each_network = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


@each_network
@pytest.mark.parametrize("name", ["backprop", "sign-symmetry", "kolen-pollack"])
def test_an_update_gets_the_layers_numbers_beside_the_parameters(name: str, net: Network) -> None:
    rule = get_rule(name)
    params, state = stacked_initial(rule, net, [3, 5], torch.float64, CPU)
    shapes = net.uniform_shapes(6)
    specs = {n: NoiseSpec(shape, "uniform") for n, shape in shapes.items()}
    noise = NoiseSource(specs, [3, 5], torch.float64, CPU).at(0)
    batch = random_batch(net, 6, 0)
    copies = Batch(*(t.expand(2, *t.shape) for t in batch))
    together = batched_update(rule, net)(params, state, copies, noise).grads
    for k in range(2):
        own = State(unstack(state.aux, k), unstack(state.memory, k))
        alone = rule.update(net, unstack(params, k) | unstack(noise, k), own, batch, {}).grads
        assert worst(unstack(together, k), alone) <= 1e-12
    quiet = batched_update(rule, net)(params, state, copies, {}).grads
    last = f"{net.top + 1}.weight"
    assert rel(quiet[last], together[last]) > 1e-3


def trained(net: Network, seeds: list[int]) -> Trainer:
    optimizer = OptimizerSpec(name="adam", lr=1e-3)
    budget = Budget(batch_size=10, epochs=2, optimizer=optimizer, aux_optimizer=None)
    splits = Splits(synthetic(net, 44, "train"), None, synthetic(net, 20, "test"))
    trainer = Trainer(get_rule("backprop"), net, splits, budget, seeds)
    trainer.train()
    return trainer


@each_network
def test_a_seed_draws_its_own_and_the_same_in_any_company(net: Network) -> None:
    alone, among = trained(net, [3]), trained(net, [0, 3])
    for name, tensor in alone.params.items():
        assert rel(among.params[name][1], tensor[0]) <= 1e-10
    cosines = among.outcomes[1].alignment["loss"]["cosine.1" if net.bottom == 0 else "cosine.2"]
    assert all(c is not None and c > 0.999 for c in cosines)  # measured without the noise


def test_steps_draw_anew() -> None:
    net = NETWORKS["dropout"]
    stepper = trained(net, [0]).stepper
    first, second = (stepper.noise.at(step)["2.uniform"] for step in (0, 1))
    assert first.shape == (1, 10, 6) and not first.equal(second)


def test_dropout_in_a_task_file(tmp_path: Path) -> None:
    path = tmp_path / "drops.toml"
    path.write_text(
        'name = "drops"\ndataset = "digits"\nloss = "mse"\nbatch_size = 50\nepochs = 1\n'
        '[optimizer]\nname = "adam"\n[network]\nlayers = [\n'
        '    { units = 12, activation = "tanh" },\n    { type = "dropout", rate = 0.2 },\n'
        "    { units = 10 },\n]\n"
    )
    layers = read_task(str(path)).build_network().layers
    assert layers == (Dense(64, 12, Tanh()), Dropout((12,), 0.2), Dense(12, 10))
