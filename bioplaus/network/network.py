"""A network as data: a tuple of layers and a loss. Parameters are a flat dict beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Init, Layer, LayerTrace, Params, Shape
from bioplaus.network.losses import Loss
from bioplaus.numerics.random_streams import Stream

Trace = tuple[LayerTrace, ...]


@dataclass(frozen=True)
class Network:
    """Layers 1..L and a loss on the first `classes` units of the last.

    Parameters are named as in the equations, "1.weight" to "L.bias"; state that
    mirrors them (feedback weights, say) uses the same names. Code counts from 0.

    Example:

        >>> import torch
        >>> from bioplaus import Network, Stream
        >>> from bioplaus.network.layer import Dense
        >>> from bioplaus.network.losses import get_loss
        >>> net = Network((Dense(3, 4), Dense(4, 2)), get_loss("mse"), classes=2)
        >>> params = net.init(Stream(0))
        >>> {name: tuple(p.shape) for name, p in params.items()}
        {'1.weight': (4, 3), '1.bias': (4,), '2.weight': (2, 4), '2.bias': (2,)}
        >>> trace = net.forward(params, torch.ones(5, 3, dtype=torch.float64))
        >>> tuple(trace[-1].output.shape)
        (5, 2)
        >>> list(net.at(params, 0))
        ['weight', 'bias']
    """

    layers: tuple[Layer, ...]
    loss: Loss
    classes: int
    initial: Init = field(default_factory=Init)
    nodes: tuple[int, ...] = ()
    """How many layers each node has, from the first, for rules that relax over nodes; () for
    one node to each layer with weights."""
    leaders: tuple[int, ...] = ()
    """Of each layer the one, by number from 0, whose parameters it uses: itself, or an earlier
    one; () where none shares any. State that mirrors parameters is the leader's too."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise ConfigError("a network needs at least one layer")
        for below, above in zip(self.layers, self.layers[1:], strict=False):
            if below.out_shape != above.in_shape:
                raise ConfigError(
                    f"a layer gives {below.out_shape}, but the next reads {above.in_shape}"
                )
        if all(layer.kind in ("encode", "readout") for layer in self.layers):
            raise ConfigError("a network needs a layer between its encoder and its readout")
        if len(self.layers[-1].out_shape) != 1:
            raise ConfigError(
                f"the last layer gives the shape {self.layers[-1].out_shape}, not a vector: "
                "end with a flatten or dense layer"
            )
        if self.classes > self.layers[-1].out_shape[0]:
            raise ConfigError(
                f"{self.layers[-1].out_shape[0]} output units cannot tell {self.classes} "
                f"classes: give the last layer {self.classes}"
            )

        if self.nodes and (min(self.nodes) < 1 or sum(self.nodes) != len(self.layers)):
            raise ConfigError(f"nodes of {self.nodes} layers do not make up {len(self.layers)}")
        self._check_leaders()

    def _check_leaders(self) -> None:
        """ConfigError unless the leaders are layers that lead themselves, and not the first one."""
        if self.leaders and len(self.leaders) != self.depth:
            raise ConfigError(f"{len(self.leaders)} leaders for {self.depth} layers")
        for l, leader in enumerate(self.leaders):
            if leader > l or self.leaders[leader] != leader:
                raise ConfigError(f"layer {l + 1} cannot follow layer {leader + 1}")
            if leader < l and leader <= self.bottom:
                raise ConfigError(
                    f"layer {l + 1} shares the weights of layer {leader + 1}, which has no "
                    "feedback weights, since no error goes below it: put another one before it, "
                    "such as flatten or slice"
                )

    def leader(self, l: int) -> int:
        """The layer whose parameters layer l uses, from 0."""
        return self.leaders[l] if self.leaders else l

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.layers)

    @property
    def bottom(self) -> int:
        """The first layer that is no encoder, by number from 0: no error need go further down."""
        return min(l for l, layer in enumerate(self.layers) if layer.kind != "encode")

    @property
    def top(self) -> int:
        """The last layer that is no readout of a train, by number from 0."""
        return max(l for l, layer in enumerate(self.layers) if layer.kind != "readout")

    @property
    def in_shape(self) -> Shape:
        """Shape of one example."""
        return self.layers[0].in_shape

    def node_layers(self) -> tuple[range, ...]:
        """The layers of each node, by number from 0.

        A layer without weights belongs to the node of the layer below it; at the start of the
        network, to that of the first layer with weights.
        """
        starts = [sum(self.nodes[:k]) for k in range(len(self.nodes))] or node_starts(self.layers)
        bounds = [*starts, self.depth]
        return tuple(range(first, end) for first, end in pairwise(bounds))

    def widest_product(self) -> int:
        """Multiply-adds of the costliest layer, for one example's forward pass."""
        return max(layer.multiply_adds() for layer in self.layers)

    def uniform_shapes(self, batch_size: int) -> dict[str, Shape]:
        """Of the random numbers that a training step adds to the parameters, "2.uniform"."""
        shapes = {f"{l}.uniform": k.uniform_shape(batch_size) for l, k in enumerate(self.layers, 1)}
        return {name: shape for name, shape in shapes.items() if shape is not None}

    def predicted_uniform_shapes(self) -> dict[str, Shape]:
        """Of those that a prediction adds, for one example, (N, *shape) for all of them."""
        asked = {f"{l}.uniform" for l, k in enumerate(self.layers, 1) if k.in_predictions}
        return {name: shape[1:] for name, shape in self.uniform_shapes(1).items() if name in asked}

    def init(self, stream: Stream) -> Params:
        """Initial parameters: float64, on the CPU, each layer from a stream of its own."""
        parts = (layer.init(stream.at(l + 1), self.initial) for l, layer in enumerate(self.layers))
        return self.join(parts)

    def at(self, params: Mapping[str, Tensor], l: int) -> Params:
        """Layer l's own part of parameters, or of anything named like them; l from 0.

        A layer that shares its leader's has the leader's part.
        """
        prefix = f"{self.leader(l) + 1}."
        return {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}

    def join(self, parts: Iterable[Mapping[str, Tensor]], first: int = 0) -> Params:
        """One dict from the parts of layers first, first + 1, ...: the inverse of `at`.

        Parts of layers that share their leader's are left out.
        """
        return {
            f"{l + 1}.{name}": tensor
            for l, part in enumerate(parts, first)
            for name, tensor in part.items()
            if self.leader(l) == l
        }

    def forward(self, params: Params, x: Tensor) -> Trace:
        """The forward pass with everything a rule may want of it; x (N, *in_shape)."""
        trace = [self.step(params, 0, x)]
        for l in range(1, self.depth):
            trace.append(self.step(params, l, trace[-1].output))
        return tuple(trace)

    def step(self, params: Params, l: int, h: Tensor) -> LayerTrace:
        """Layer l alone, from any activity h below it."""
        return self.layers[l].trace(self.at(params, l), h)

    def output(self, params: Params, x: Tensor) -> Tensor:
        """h_L of a forward pass, (N, n_L)."""
        h = x
        for l, layer in enumerate(self.layers):
            h = layer.activation(layer.forward(self.at(params, l), h)[0])
        return h

    def weight_grads(self, trace: Trace, deltas: Iterable[Tensor]) -> Params:
        """The batch means of d_l h_{l-1}^T and d_l, from the d_l of all layers in order.

        Of parameters that layers share, the sum of theirs.
        """
        triples = zip(self.layers, trace, deltas, strict=True)
        parts = [layer.weight_grad(step.residuals, d) for layer, step, d in triples]
        for l, leader in enumerate(self.leaders):
            if leader < l:
                so_far = parts[leader]
                parts[leader] = {name: so_far[name] + own for name, own in parts[l].items()}
        return self.join(parts)

    def mean_loss(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """The loss as a function of the parameters, for autograd."""
        return self.loss.value(self.output(params, x), y)


def node_starts(layers: Sequence[Layer], blocks: Iterable[range] = ()) -> list[int]:
    """Where each node starts, by number from 0: at the layers with weights, or their block.

    blocks: layers that are one node together, if there are weights among them.
    """
    weighted = [l for l, layer in enumerate(layers) if layer.multiply_adds() > 0]
    starts = set(weighted)
    for block in blocks:
        within = starts.intersection(block)
        if within:
            starts = (starts - within) | {block.start}
    first = weighted[0] if weighted else 0
    return [0, *sorted(start for start in starts if start > first)]
