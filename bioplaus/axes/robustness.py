"""Robustness: what an answer survives.

Sparse attacks on the input (see `sparse_attacks`), Gaussian noise on the input and on the
weights, and weights of few bits, as analog and low-precision hardware have them. Every curve
is a share of right answers on the same test examples, the same for every rule.

    noise on inputs     x + s r e, e ~ N(0, 1), r the width of the data's range; not clipped
    noise on weights    W + s rms(W) e for every weight matrix W; biases stay
    weights of b bits   W rounded to 2^b - 1 levels, symmetric about 0, the largest |W| at an end

Feedback weights matter after training only where a rule answers from them. There they get the
same noise in a curve of their own, and the same number of bits as the forward weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from bioplaus.axes.axis import Axis, AxisConfig, Reading, Trained
from bioplaus.axes.sparse_attacks import greedy, margins, sparse_rs
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split


class RobustnessConfig(AxisConfig):
    """What is done to inputs and weights, and how much of it."""

    examples: int = Field(500, ge=1, description="test examples, the same for all rules")
    k: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8), min_length=1, description="inputs that an attack may change"
    )
    values: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.0, 1.0),
        min_length=2,
        description="what the greedy attack may set an input to, as shares of the data's range; "
        "0 and 1 and values between where a network treats extreme inputs apart",
    )
    candidates: int = Field(20, ge=1, description="inputs that each greedy step tries")
    queries: int = Field(300, ge=0, description="of the random search for each k; 0 leaves it out")
    input_noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.1, 0.2, 0.4), description="standard deviations, in widths of the data's range"
    )
    weight_noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.1, 0.2, 0.4), description="standard deviations, in root mean squares of the weights"
    )
    bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = Field(
        (2, 3, 4, 8), description="bits of a weight"
    )
    draws: int = Field(3, ge=1, description="draws of noise that a share is the mean of")

    @field_validator("k", "input_noise", "weight_noise", "bits", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) else value

    @field_validator("k", "input_noise", "weight_noise", "bits")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each value once")
        return tuple(sorted(value))

    @field_validator("values")
    @classmethod
    def _with_the_ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not {0.0, 1.0} <= set(value):
            raise ValueError("0 and 1, the ends of the range, must be among them")
        return tuple(sorted(set(value)))


class Robustness(Axis[RobustnessConfig]):
    """Right answers under sparse attacks, noise on inputs and weights, and weights of few bits."""

    name = "robustness"
    Config = RobustnessConfig
    version = 1

    def supports(self, experiment: Experiment) -> str | None:
        if "classes" not in experiment.task.gives:
            return "attacks are on classes, and this task has none"
        return super().supports(experiment)

    def measure(self, trained: Trained, report: Callable[[float], None]) -> Mapping[str, Reading]:
        config = self.config
        low, high = data_range(trained.data.train.x)
        assert trained.data.test is not None
        chosen = examples(trained.data.test, config.examples, trained.experiment.task.dataset)
        right = float(_right(trained.answers(chosen.x), chosen.y))
        found = {"clean": Reading(right, words="right answers to the examples as they are")}
        found |= self._attacked(trained, chosen, low, high, report)
        found |= self._noisy_inputs(trained, chosen, high - low)
        report(0.95)
        found |= self._changed_weights(trained, chosen)
        report(1.0)
        return found

    def _attacked(
        self,
        trained: Trained,
        chosen: Split,
        low: float,
        high: float,
        report: Callable[[float], None],
    ) -> dict[str, Reading]:
        config, (flat, y) = self.config, (chosen.x.flatten(1), chosen.y)
        shape = chosen.x.shape[1:]

        def margin(x: Tensor, classes: Tensor) -> Tensor:
            return margins(trained.answers(x.reshape(len(x), *shape)), classes)

        curves: dict[str, Tensor] = {}
        values = [low + share * (high - low) for share in config.values]
        try:
            after, _ = greedy(margin, flat, y, max(config.k), values, config.candidates)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
        else:
            curves["greedy"] = after[list(config.k)] > 0
        report(0.3)
        if config.queries:
            curves["sparse_rs"] = self._searched(margin, flat, y, (low, high), trained, report)
        if not curves:
            return {}
        words = {
            "robust": "answered right under every attack made",
            "greedy": "answered right under the greedy attack",
            "sparse_rs": "answered right under the random search",
        }
        both = torch.stack(list(curves.values())).all(0)
        return {
            name: Reading(
                stands.double().mean(1), "k", config.k, words=f"{words[name]} on k inputs"
            )
            for name, stands in {"robust": both, **curves}.items()
        }

    def _searched(
        self,
        margin: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        ends: tuple[float, float],
        trained: Trained,
        report: Callable[[float], None],
    ) -> Tensor:
        """Whether each example stands, for each k, (K, N): what falls to fewer changes fell."""
        found: list[Tensor] = []
        for i, k in enumerate(self.config.k):
            stream = trained.stream.at("sparse-rs", k)
            lowest, _ = sparse_rs(margin, x, y, k, ends, self.config.queries, stream)
            found.append((lowest > 0) & found[-1] if found else lowest > 0)
            report(0.3 + 0.6 * (i + 1) / len(self.config.k))
        return torch.stack(found)

    @torch.no_grad()
    def _noisy_inputs(self, trained: Trained, chosen: Split, width: float) -> dict[str, Reading]:
        def right(size: float, draw: int) -> Tensor:
            # by draw alone: larger noise is the same noise, larger
            noise = trained.stream.at("inputs", draw).normal(chosen.x.shape).to(chosen.x)
            return _right(trained.answers(chosen.x + size * width * noise), chosen.y)

        words = "answered right with Gaussian noise on the inputs"
        return self._over_draws("input_noise", self.config.input_noise, right, words)

    @torch.no_grad()
    def _changed_weights(self, trained: Trained, chosen: Split) -> dict[str, Reading]:
        stream, (x, y) = trained.stream, (chosen.x, chosen.y)
        state = trained.state
        fed = State(feedback(state.aux), feedback(state.memory))

        def noisy(size: float, draw: int) -> Tensor:
            params = with_noise(trained.params, size, stream.at("weights", draw))
            return _right(trained.answers(x, params), y)

        def noisy_feedback(size: float, draw: int) -> Tensor:
            aux = with_noise(fed.aux, size, stream.at("feedback", draw, "aux"))
            memory = with_noise(fed.memory, size, stream.at("feedback", draw, "memory"))
            return _right(trained.answers(x, None, _replaced(state, aux, memory)), y)

        def rounded(bits: int) -> Tensor:
            params = quantised(trained.params, bits)
            aux, memory = quantised(fed.aux, bits), quantised(fed.memory, bits)
            return _right(trained.answers(x, params, _replaced(state, aux, memory)), y)

        sizes, words = self.config.weight_noise, "answered right with Gaussian noise on the"
        found = self._over_draws("weight_noise", sizes, noisy, f"{words} weights")
        if fed.aux or fed.memory:
            found |= self._over_draws(
                "feedback_noise", sizes, noisy_feedback, f"{words} feedback weights"
            )
        if self.config.bits:
            shares = torch.stack([rounded(bits) for bits in self.config.bits])
            found["quantised"] = Reading(
                shares, "bits", self.config.bits, words="answered right with weights of few bits"
            )
        return found

    def _over_draws(
        self, name: str, sizes: Sequence[float], right: Callable[[float, int], Tensor], words: str
    ) -> dict[str, Reading]:
        if not sizes:
            return {}
        draws = range(self.config.draws)
        means = [torch.stack([right(size, draw) for draw in draws]).mean() for size in sizes]
        return {name: Reading(torch.stack(means), "noise", sizes, words=words)}


def examples(test: Split, count: int, dataset: str) -> Split:
    """So many examples of the test split, the same for every rule and seed."""
    order = Stream(0).at("measured examples", dataset).permutation(len(test))
    return test[torch.sort(order[:count]).values.to(test.x.device)]


def data_range(x: Tensor) -> tuple[float, float]:
    """The least and the greatest number among the training examples."""
    return float(x.min()), float(x.max())


def with_noise(params: Params, size: float, stream: Stream) -> Params:
    """Weight matrices with noise of `size` times their root mean square; the rest as it is."""
    return {
        name: tensor
        + size * tensor.square().mean().sqrt() * stream.at(name).normal(tensor.shape).to(tensor)
        if _is_matrix(tensor)
        else tensor
        for name, tensor in params.items()
    }


def quantised(params: Params, bits: int) -> Params:
    """Weight matrices on 2^bits - 1 levels, symmetric about 0; the rest as it is."""
    most = 2 ** (bits - 1) - 1

    def rounded(tensor: Tensor) -> Tensor:
        step = tensor.abs().max() / most
        return torch.where(step > 0, (tensor / step).round() * step, tensor)

    return {n: rounded(t) if _is_matrix(t) else t for n, t in params.items()}


def feedback(part: Params) -> Params:
    """Of a rule's state the feedback weights: named and shaped like a layer's weights."""
    ends = (".weight", ".recurrent")
    return {n: t for n, t in part.items() if n.endswith(ends) and _is_matrix(t)}


def _replaced(state: State, aux: Params, memory: Params) -> State:
    return State({**state.aux, **aux}, {**state.memory, **memory})


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.dim() > 1 and tensor.is_floating_point()


def _right(outputs: Tensor, y: Tensor) -> Tensor:
    """The share of margins above 0; a tie is no right answer."""
    return (margins(outputs, y) > 0).double().mean()
