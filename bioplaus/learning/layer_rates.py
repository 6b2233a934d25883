"""Whether an optimizer's rates for single layers are of layers that a network has."""

from __future__ import annotations

from bioplaus.errors import ConfigError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


def check_rates(spec: OptimizerSpec | None, net: Network) -> None:
    """ConfigError where a rate is of a layer that is not there, or has nothing to learn."""
    if spec is None or spec.layer_rates is None:
        return
    learning = sorted({int(name.partition(".")[0]) for name in net.init(Stream(0))})
    wrong = [l for l, rate in enumerate(spec.layer_rates, 1) if rate != 1 and l not in learning]
    if wrong:
        raise ConfigError(
            f"optimizer: layer_rates: layer {wrong[0]} has nothing to learn, or is not there; "
            f"those that learn are {', '.join(map(str, learning))}"
        )
