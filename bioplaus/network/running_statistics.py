"""Running statistics of batch normalisations, where the harness trains a network.

They are named like parameters, "2.running_mean" and "2.running_var", but no optimizer trains them
and no rule is shown them in a step: a step normalises by its batch, and moves them towards the
batch's statistics. Beside the parameters they are what a prediction goes by.
"""

from __future__ import annotations

from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.batch_norm import batch_norms
from bioplaus.network.layer import Params
from bioplaus.network.network import Network


def initial_statistics(net: Network) -> Params:
    """Those before the first batch, float64 on the CPU; {} for a network without any."""
    return {
        f"{l + 1}.{name}": tensor
        for l, norm in batch_norms(net)
        for name, tensor in norm.statistics().items()
    }


def moved_statistics(net: Network, params: Params, statistics: Params, x: Tensor) -> Params:
    """Those after a batch x, (N, *in_shape), from those before it.

    params: what the step's forward pass has, dropout's numbers too, without statistics. It goes up
    to the last normalisation and no further.
    """
    norms = dict(batch_norms(net))
    found: Params = {}
    h = x
    for l in range(max(norms, default=-1) + 1):
        step = net.step(params, l, h)
        if l in norms:
            own = norms[l].moved(net.at(statistics, l), step.residuals, norms[l].momentum)
            found |= {f"{l + 1}.{name}": tensor for name, tensor in own.items()}
        h = step.output
    return found


def check_batches(net: Network, batch_size: int) -> None:
    """ConfigError where a batch has no variance."""
    for l, norm in batch_norms(net):
        if batch_size * norm.places < 2:
            raise ConfigError(
                f"layer {l + 1} normalises over the batch, and a batch of {batch_size} has one "
                "value of each of its channels: set batch_size to 2 or more"
            )
