"""The learning-rule contract.

A rule is a pure function of one network, one batch and the rule's own state; it
returns an update for every parameter, in gradient sign, so that any torch optimizer
applies it. It is written for one network: the harness trains many seeds at once by
batching the rule with `torch.func.vmap`, and its author never sees that dimension.

Pure means: inputs are not changed in place; no random calls (noise is declared and
handed in); no host synchronisation (`.item()`, branches on data); a fixed number of
iterations. Then vmap, tracing, CUDA graphs and compilation all work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import ConfigDict, ValidationError
from torch import Tensor

from bioplaus.errors import ConfigError, PluginError, UnknownNameError, validation_message
from bioplaus.learning.fields import Fields
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.search_space import LEARNING_RATE, SearchSpace
from bioplaus.learning.update import Batch as Batch
from bioplaus.learning.update import NoiseSpec as NoiseSpec
from bioplaus.learning.update import Resting as Resting
from bioplaus.learning.update import State as State
from bioplaus.learning.update import Update as Update
from bioplaus.network.group_norm import why_only_errors
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.recurrent import Recurrent
from bioplaus.numerics.random_streams import Stream
from bioplaus.system.blame import blaming

RESERVED_OPTIONS = frozenset(
    {"rule", "loss", "state", "seed", "model", "optimizer", "input_shape", "x", "y", "plugin"}
)
"""What `backward`, `Learner` and `alignment` mean something else by."""


AuxOptimizer = OptimizerSpec | Literal["same"] | None
"""Settings of its own, the network's ("same"), or none for a rule without `state.aux`."""


Need = Literal["error", "targets", "classes", "views", "examples"]


class RuleConfig(Fields):
    """Base of a rule's options: typed, described, validated, frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        reserved = RESERVED_OPTIONS & cls.model_fields.keys()
        if reserved:
            raise TypeError(f"{cls.__name__}: rename {sorted(reserved)}, which mean something else")


C = TypeVar("C", bound=RuleConfig)

_INIT = "an __init__ of its own is given the options alone: "
_INIT += "def __init__(self, config): super().__init__(config)"


class LearningRule(ABC, Generic[C]):
    """Turns the error at the output into an update for every parameter of a network."""

    name: ClassVar[str]
    Config: ClassVar[type[RuleConfig]] = RuleConfig
    version: ClassVar[int] = 1
    """Part of a record's key: raise it when results change."""
    citation: ClassVar[Citation]
    preset_of: ClassVar[str | None] = None
    """The rule that this one is with other defaults; None for a rule of its own."""
    refresh_every: ClassVar[int | None] = None
    """Call `refresh` every so many steps; None for never."""
    quick: ClassVar[Mapping[str, object]] = {}
    """Options that make it cheaper, for suites that say `quick`; printed on the board."""
    stackable: ClassVar[frozenset[str]] = frozenset()
    """Options, numbers above 0, in which replicas that train together may differ: `init_state`
    uses them as it likes, `update` in arithmetic alone, not in Python's branches or in code
    that needs a float."""
    mixes_examples: ClassVar[bool] = False
    """Whether it can train normalisations, over a batch, whose examples then depend on each other,
    or within an example. So it is where errors come down by the layers' `adjoint` alone."""
    in_time: ClassVar[bool] = False
    """Whether it can train networks in time, of spiking units say. So it is where errors come
    down by the layers' `pull` and `adjoint` alone: it then has no step of its own to make."""
    recurrent: ClassVar[bool] = False
    """Whether it can train units that feel each other along time: recurrent weights in layers."""
    shares_weights: ClassVar[bool] = False
    """Whether it can train layers that share weights, `Network.leaders`: its gradients are those of
    `Network.weight_grads`, and its state is looked up with `at`."""
    relaxes: ClassVar[bool] = False
    """Whether its activities leave those of the forward pass: then what an update depends on
    cannot be measured from one batch, and its profile is declared alone."""
    needs: ClassVar[Need] = "error"
    """What of a task it learns from: the error that any loss puts on the output; the targets
    themselves, which two views have not; classes; two views; or the example as its own target."""
    published: ClassVar[tuple[Published, ...]] = ()
    """Results from the literature, each checked at its source."""

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def configured(cls, options: Mapping[str, object] | None = None) -> Self:
        """The rule with these options; an unknown or bad one raises one clear line."""
        options = options or {}
        for option in options:
            if option not in cls.Config.model_fields:
                raise UnknownNameError(f"option of {cls.name}", option, cls.Config.model_fields)
        try:
            config = cls.Config.model_validate(options)
        except ValidationError as error:
            raise ConfigError(f"{cls.name}: {validation_message(error)}") from None
        with blaming(f"the rule {cls.name!r} cannot be made, {_INIT}", cls):
            rule = cls(config)  # type: ignore[arg-type]
        if not isinstance(getattr(rule, "config", None), RuleConfig):
            raise PluginError(f"the rule {cls.name!r} has no `config`: {_INIT}")
        return rule

    @property
    @abstractmethod
    def plausibility(self) -> Plausibility:
        """The profile of this rule as configured."""

    @property
    def optimizer(self) -> OptimizerSpec | None:
        """The optimizer recommended for the network, the paper's say; None for the task's."""
        return None

    def optimizer_on(self, net: Network) -> OptimizerSpec | None:
        """`optimizer`, for a rule whose recommendation depends on the network or its loss."""
        return self.optimizer

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        """The optimizer of `state.aux`: None where there is nothing in it to train."""
        return None

    def variant(self, step: int) -> Self:
        """The rule that makes this step (from 0): itself, unless some steps do other work.

        A rule has few variants, which agree in all but `update`; each is traced once.
        """
        return self

    def rests(self, net: Network, step: int) -> Resting:
        """What does not learn in a step (from 0), and has gradients of zero; known beforehand."""
        return Resting()

    def watched(self) -> Self:
        """The rule for a harness that asks `adapted` and `redone` after every epoch.

        By itself a rule's update is right in any case; watched, it may be quicker and wrong
        where its metrics tell.
        """
        return self

    def adapted(self, metrics: Mapping[str, float]) -> Self:
        """The rule for the next epoch, from each metric's largest mean over the replicas.

        It depends on these alone, not on what the rule was before.
        """
        return self

    def redone(self, metrics: Mapping[str, float]) -> Self | None:
        """The rule to take the epoch again with that gave these metrics; None if it stands."""
        return None

    @property
    def search_space(self) -> SearchSpace:
        """The settings worth tuning, options or `optimizer.lr`: one to three of them.

        By default the learning rate, a decade and a half each way of the recommended one.
        """
        return {"optimizer.lr": LEARNING_RATE}

    @property
    def scales(self) -> frozenset[str]:
        """Options, as configured, that only multiply the gradient of each parameter by a number.

        An optimizer that divides by the gradients' size cancels them.
        """
        return frozenset()

    def search_space_under(self, optimizer: OptimizerSpec) -> SearchSpace:
        """`search_space` without what that optimizer cancels."""
        space = self.search_space
        if not optimizer.cancels_scale:
            return space
        return {name: dimension for name, dimension in space.items() if name not in self.scales}

    def supports(self, net: Network) -> str | None:
        """None where this rule can train the network, else the reason why it cannot.

        A rule with reasons of its own asks `super().supports(net)` first.
        """
        for l, layer in enumerate(net.layers, start=1):
            if not self.mixes_examples and (reason := why_only_errors(layer)):
                return f"layer {l} {reason}"
            if layer.in_time and not self.in_time:
                return (
                    f"layer {l} runs in time, and this rule has no form for activity that is a "
                    "train of steps"
                )
            if isinstance(layer, Recurrent) and not self.recurrent:
                return (
                    f"layer {l} has recurrent weights, and this rule has no way for errors back "
                    "along them"
                )
        if not self.shares_weights:
            for l, leader in enumerate(net.leaders):
                if leader < l:
                    return (
                        f"layers {leader + 1} and {l + 1} share their weights, and this rule "
                        "trains those of each layer by itself"
                    )
        return None

    def amplification(self, net: Network) -> float:
        """How many times a rounding error grows on its way into an update, by the rule's design.

        1 where it hardly grows. Two devices, which round differently, may differ by so much.
        """
        return 1.0

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        """The noise that `update` needs at each step."""
        return {}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        """The state before the first step; drawn from `stream`, in float64 on the CPU."""
        return State({}, {})

    @abstractmethod
    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        """One step's update from one batch. Pure; see the module's docstring."""

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        """The trained network's output for x, (N, n_L); by default the forward pass."""
        return net.output(params, x)

    def prediction_noise(self, net: Network) -> dict[str, NoiseSpec]:
        """The noise that `predict_with` needs for one example, drawn from its place in its split:
        an answer depends on no seed beside it, on no batch, and on no epoch."""
        return {}

    def predict_with(
        self, net: Network, params: Params, state: State, x: Tensor, noise: Params
    ) -> Tensor:
        """`predict`, for a rule that answers with noise, (N, *shape) of each `prediction_noise`."""
        return self.predict(net, params, state, x)

    def embed(self, net: Network, params: Params, state: State, x: Tensor, layer: int) -> Tensor:
        """What a probe reads of x, (N, ...): by default layer `layer`'s output, from 1.

        For tasks without labels alone.
        """
        return net.forward(params, x)[layer - 1].output

    def refresh(
        self, net: Network, params: Params, state: State, batch: Batch, stream: Stream
    ) -> State:
        """Work on the host every `refresh_every` steps, outside vmap, one network at a time."""
        return state

    def refresh_all(
        self, net: Network, params: Params, state: State, batch: Batch, streams: Sequence[Stream]
    ) -> State | None:
        """`refresh` for all replicas at once: everything stacked, and a stream for each.

        None, the default, for one after the other. A replica gets what `refresh` would give it.
        """
        return None

    def objective(self, net: Network, params: Params, batch: Batch) -> Tensor | None:
        """The scalar this rule descends, where that is not the task's loss."""
        return None

    def objective_at(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Tensor | None:
        """`objective`, for a rule whose objective depends on its state or on the step's noise."""
        return self.objective(net, params, batch)
