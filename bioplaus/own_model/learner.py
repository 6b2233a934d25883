"""A learning rule with everything that it needs to train a model, in one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.prediction import predicted_alone
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.own_model.inputs import (
    ArrayLike,
    RuleLike,
    batch_of,
    check_surroundings,
    chosen_loss,
    chosen_rule,
    chosen_seed,
    chosen_shape,
    examples,
    fitted,
)
from bioplaus.own_model.model_optimizer import add_beside, model_optimizer, recommended
from bioplaus.own_model.own_network import OwnNetwork
from bioplaus.own_model.rule_state import RuleState
from bioplaus.own_model.saved_state import restore
from bioplaus.plugins import defaults


class Step(NamedTuple):
    """What one step was, before its update was applied."""

    loss: Tensor
    """Mean over the batch, a scalar."""
    metrics: dict[str, Tensor]
    """Scalars that the rule reports; always "loss"."""


class Learner:
    """Trains an `nn.Module` by a learning rule: `step(x, y)`, batch after batch.

    It owns the rule's state, its auxiliary parameters (feedback weights, inverses) and the
    optimizers of both. `optimizer` trains the model, and with it the auxiliary parameters of
    rules that want the same for both; it is an ordinary torch optimizer, so schedulers take
    it: make them after the learner.

        model = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
        learner = bioplaus.Learner(model, "feedback-alignment", loss="cross_entropy")
        for x, y in batches:
            loss = learner.step(x, y).loss
        accuracy = (learner.predict(test_x).argmax(1) == test_y).float().mean()
    """

    def __init__(
        self,
        model: nn.Module,
        rule: RuleLike = defaults.RULE,
        *,
        loss: str = "mse",
        optimizer: torch.optim.Optimizer | OptimizerSpec | None = None,
        input_shape: Iterable[int] | None = None,
        seed: int = 0,
        plugin: str | PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        """A learner at its first step.

        model: of the modules that `bioplaus.backward` takes; its device and dtype are used.
        rule: a name, a rule's class, or a rule. plugin: a Python file with rules, which have
        names then. loss: "mse", half the squared error summed over outputs, or "cross_entropy".
        optimizer: over the model's parameters; None for the one that the rule recommends,
        else Adam at 1e-3. input_shape: of one example; needed where the model does not begin
        with Linear. seed: of the rule's state and noise. options: the rule's.

        Raises ModelError, UnsupportedError, UnknownNameError or ConfigError, as `backward`.
        """
        check_surroundings()
        self.model = model
        self.rule: Rule = chosen_rule(rule, options, plugin)
        self._own = OwnNetwork(model, chosen_shape(model, input_shape), chosen_loss(loss))
        self._own.trained()
        self._own.check_forward()
        self.state = RuleState(self.rule, self._own, chosen_seed(seed))
        """What the rule keeps, as in `backward`."""
        self.optimizer = model_optimizer(optimizer, self.rule, self._own)
        if self.state.trained_by_caller:
            spec = recommended(self.rule, self._own) if optimizer is None else optimizer
            add_beside(self.optimizer, spec if isinstance(spec, OptimizerSpec) else None, self.aux)

    @property
    def net(self) -> Network:
        """The model as the rule sees it."""
        return self._own.net

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
    def step(self, x: ArrayLike, y: ArrayLike) -> Step:
        """One update from a batch: x (N, ...), y class indices (N) or float targets (N, outputs).

        Gradients from before are replaced; parameters that are frozen by now, or rest in this
        step (`LearningRule.rests`), have none, and stay. ModelError for a batch that does not fit.
        """
        self._check()
        self._own.trained()
        batch = self._batch(x, y)
        update = self.state.update(self._own, batch)
        self.state.write(self._own, update, add=False)
        self.state.finish(update)
        self.optimizer.step()
        return Step(update.metrics["loss"], update.metrics)

    @torch.no_grad()
    def predict(self, x: ArrayLike) -> Tensor:
        """The trained model's outputs (N, outputs) for x, as in `eval` mode: dropout is silent."""
        self._check(training=False)
        fitting = fitted(examples(x), self._own)
        params = self._own.params() | self._own.norms.running(training=False)
        return predicted_alone(self.rule, self.net, params, self.state.values(), fitting, self.seed)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move everything, as `nn.Module.to` does: to a device, a dtype or both."""
        self.model.to(*args, **kwargs)
        some, state = self._own.some, self.state
        for tensor in state.aux.values():  # in place: the optimizers hold them
            tensor.grad = None
            tensor.data = tensor.data.to(some.device, some.dtype)
        state.memory = {k: v.to(some.device, some.dtype) for k, v in state.memory.items()}
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
        """Go on from there; ModelError where it is of another rule, configuration or model.

        All of it is taken or nothing: after an error the learner is as it was.
        """
        restore(state, self.state, self.model, self.optimizer)

    def alignment_state(self, model: object) -> tuple[OwnNetwork, RuleState]:
        """What `alignment` looks at; ModelError where the model is another one."""
        if model is not self.model:
            raise ModelError("the learner is of another model: give learner.model")
        self._check()
        return self._own, self.state

    def _check(self, training: bool = True) -> None:
        check_surroundings(training)
        self._own.check_same()
        self.state.check_place(self._own)

    def _batch(self, x: ArrayLike, y: ArrayLike) -> Batch:
        batch = batch_of(x, y, self._own)
        given, due = batch.y.shape[1], self._own.outputs
        if given != due:
            raise ModelError(f"targets have {given} columns, but the model {due} outputs")
        return batch
