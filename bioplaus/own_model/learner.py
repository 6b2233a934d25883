"""A learning rule with everything that it needs to train a model, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, State
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params, Shape
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.own_model.backward import targets
from bioplaus.own_model.read_modules import input_shape as told_shape
from bioplaus.own_model.read_modules import read_modules
from bioplaus.own_model.rule_state import RuleState, with_penalty, write_gradients
from bioplaus.plugins import defaults, registry


class Step(NamedTuple):
    """What one step was, before its update was applied."""

    loss: Tensor
    """Mean over the batch, a scalar."""
    metrics: dict[str, Tensor]
    """Scalars that the rule reports; always "loss"."""


class Learner:
    """Trains an `nn.Sequential` by a learning rule: `step(x, y)`, batch after batch.

    It owns the rule's state, its auxiliary parameters (feedback weights, inverses) and the
    optimizers of both. `optimizer` trains the model, and with it the auxiliary parameters of
    rules that want the same for both; it is an ordinary torch optimizer, so schedulers take
    it: make them after the learner.
    """

    def __init__(
        self,
        model: nn.Sequential,
        rule: str = defaults.RULE,
        *,
        loss: str = "mse",
        optimizer: torch.optim.Optimizer | OptimizerSpec | None = None,
        input_shape: Shape | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        """A learner at its first step.

        model: of the modules that `bioplaus.backward` takes; its device and dtype are used.
        loss: "mse", half the squared error summed over outputs, or "cross_entropy".
        optimizer: over the model's parameters; None for the one that the rule recommends,
        else Adam at 1e-3. input_shape: of one example; needed where the model does not begin
        with Linear. seed: of the rule's state and noise. options: the rule's.

        Raises ModelError, UnsupportedError, UnknownNameError or ConfigError, as `backward`.
        """
        self.model = model
        self.rule: Rule = registry.load("rule", rule).configured(options)
        shape = input_shape or (told_shape(model) if isinstance(model, nn.Sequential) else ())
        if shape is None:
            raise ModelError(
                "the model does not begin with Linear: give the shape of one example, "
                "as in input_shape=(1, 28, 28)"
            )
        layers, self._names = read_modules(model, tuple(shape))
        self.net = Network(layers, get_loss(loss), classes=layers[-1].out_shape[0])
        self._norms = Norms(model, self.net)
        self.state = RuleState(self.rule, self.net, self._params(), seed)
        """What the rule keeps, as in `backward`."""
        self.optimizer = self._model_optimizer(optimizer)
        if self.state.trained_by_caller:
            self.optimizer.add_param_group({"params": list(self.aux.values())})

    @property
    def seed(self) -> int:
        """Of the rule's state and noise."""
        return self.state.seed

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.state.step

    @property
    def aux(self) -> Params:
        """The rule's auxiliary parameters."""
        return self.state.aux

    @property
    def memory(self) -> Params:
        """What else the rule keeps."""
        return self.state.memory

    @property
    def aux_optimizer(self) -> torch.optim.Optimizer | None:
        """Of the auxiliary parameters, where the rule has one of its own for them."""
        return self.state.optimizer

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor) -> Step:
        """One update from a batch: x (N, ...), y class indices (N) or float targets (N, outputs).

        Gradients from before are replaced. ModelError for a batch that does not fit.
        """
        batch = self._batch(x, y)
        update = self.state.update(self._params(), batch, self._norms, self.model.training)
        trained = {name: p for name, p in self._names.items() if p.requires_grad}
        write_gradients(trained, with_penalty(update), add=False)
        self.state.finish(update, add=False)
        self.optimizer.step()
        return Step(update.metrics["loss"], update.metrics)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The trained model's outputs (N, outputs) for x, as in `eval` mode: dropout is silent."""
        x = x.reshape(-1, *self.net.in_shape)
        params = self._params() | self._norms.running(training=False)
        return self.rule.predict(self.net, params, self.state.values(), x)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move everything, as `nn.Module.to` does: to a device, a dtype or both."""
        self.model.to(*args, **kwargs)
        some = next(iter(self._names.values()))
        for tensor in self.aux.values():  # in place: the optimizers hold them
            tensor.grad = None
            tensor.data = tensor.data.to(some.device, some.dtype)
        moved = {k: v.to(some.device, some.dtype) for k, v in self.memory.items()}
        self.state.memory = moved
        for optimizer in (self.optimizer, self.aux_optimizer):
            if optimizer is not None:
                optimizer.load_state_dict(optimizer.state_dict())  # casts to its parameters'
        return self

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on bit for bit, the model's state too; for `torch.save`."""
        own = self.aux_optimizer
        return {
            "rule": self.rule.name,
            "options": self.rule.config.model_dump(mode="json"),
            "seed": self.seed,
            "steps": self.steps,
            "model": self.model.state_dict(),
            "aux": {name: tensor.detach().clone() for name, tensor in self.aux.items()},
            "memory": {name: tensor.clone() for name, tensor in self.memory.items()},
            "optimizer": self.optimizer.state_dict(),
            "aux_optimizer": own.state_dict() if own is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; ModelError where it is of another rule, configuration or model."""
        options = self.rule.config.model_dump(mode="json")
        if (state["rule"], state["options"]) != (self.rule.name, options):
            raise ModelError(
                f"the state is of {state['rule']} with {state['options']}, not of "
                f"{self.rule.name} with {options}"
            )
        _check_shapes(state["aux"], self.aux)
        _check_shapes(state["memory"], self.memory)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise ModelError(f"the state is of another model: {error}") from None
        self.state.seed, self.state.step = state["seed"], state["steps"]
        self.state.take(State(state["aux"], state["memory"]))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.aux_optimizer is not None:
            self.aux_optimizer.load_state_dict(state["aux_optimizer"])

    def _params(self) -> Params:
        return {name: parameter.detach() for name, parameter in self._names.items()}

    def _batch(self, x: Tensor, y: Tensor) -> Batch:
        if x.dim() < 2 or x.shape[0] == 0:
            raise ModelError(f"x holds a batch of examples, but has the shape {tuple(x.shape)}")
        given, due = x[0].numel(), torch.Size(self.net.in_shape).numel()
        if given != due:
            raise ModelError(
                f"an example of x has {given} numbers, but the model reads {self.net.in_shape}"
            )
        outputs = self.net.classes
        y = targets(y, x.shape[0], outputs, x.dtype)
        if y.shape[1] != outputs:
            raise ModelError(f"targets have {y.shape[1]} columns, but the model {outputs} outputs")
        return Batch(x.reshape(-1, *self.net.in_shape), y)

    def _model_optimizer(
        self, given: torch.optim.Optimizer | OptimizerSpec | None
    ) -> torch.optim.Optimizer:
        if isinstance(given, torch.optim.Optimizer):
            return given
        spec = given or self.rule.optimizer_on(self.net) or OptimizerSpec(name="adam", lr=1e-3)
        return spec.build(p for p in self._names.values() if p.requires_grad)


def _check_shapes(given: Params, due: Params) -> None:
    shapes = [{name: tensor.shape for name, tensor in part.items()} for part in (given, due)]
    if shapes[0] != shapes[1]:
        raise ModelError("the state is of another model: the rule's tensors have other shapes")
