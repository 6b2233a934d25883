"""Lottery tickets: the weights that a dense network, trained first, has largest.

A seed's ticket is found once, by exact gradients, for every rule: the dense network starts where
the seed's runs do, sees their batches' order, and learns `STEPS` steps with Adam at 0.001 from
*all* training examples of the task. With `train_examples` it therefore knows of examples that the
runs do not see. It is trained in float64 on the CPU, whatever the runs are, without dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch

from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.records.keys import digest
from bioplaus.tasks.data_cache import Need, load
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.task import Task, prepare
from bioplaus.training.augmentation import normalised
from bioplaus.training.lesson import CLASSES

STEPS = 2_000
_OPTIMIZER = OptimizerSpec(name="adam", lr=1e-3)
_HELD = 64
"""Dense networks that a process keeps: those of a suite's seeds are asked for by every rule."""
_held: OrderedDict[tuple[str, int], Params] = OrderedDict()

Dense = Callable[[Network, int], Params]
"""The trained dense network of a seed."""


def dense_of(experiment: Experiment) -> Dense | None:
    """What tickets of the experiment's task are read from; None where it has none."""
    task = experiment.task
    if task.pruning is None or task.pruning.kind != "ticket":
        return None
    whole = task.model_copy(update={"train_examples": None, "pruning": None})
    key = digest(whole.content())

    def dense(net: Network, seed: int) -> Params:
        if (key, seed) not in _held:
            _held[key, seed] = _trained(net, _examples(whole, net), task.batch_size, seed)
        _held.move_to_end((key, seed))
        while len(_held) > _HELD:
            _held.popitem(last=False)
        return _held[key, seed]

    return dense


def _examples(task: Task, net: Network) -> Split:
    """All of them, as the network reads them."""
    data = load(Need.of(task, test=False))
    train = prepare(data.train, net.in_shape, data.scale, torch.float64, torch.device("cpu"))
    if task.normalise:
        train = Split(normalised(train.x, train.x, load_dataset(task.dataset).shape), train.y)
    return train


@torch.enable_grad()
def _trained(net: Network, train: Split, batch_size: int, seed: int) -> Params:
    params = {n: t.clone() for n, t in net.init(Stream(seed).at("parameters")).items()}
    leaves = [tensor.requires_grad_() for tensor in params.values()]
    optimizer = _OPTIMIZER.build(leaves)
    targets = CLASSES.targets(train, net)
    per_epoch = len(train) // batch_size
    for step in range(STEPS):
        epoch, number = divmod(step, per_epoch)
        if number == 0:
            order = Stream(seed).at("order", epoch + 1).permutation(len(train))
        batch = order[number * batch_size : (number + 1) * batch_size]
        loss = net.mean_loss(params, train.x[batch], targets[batch])
        grads = torch.autograd.grad(loss, leaves, materialize_grads=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad
        optimizer.step()
    return {name: tensor.detach() for name, tensor in params.items()}
