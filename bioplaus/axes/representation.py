"""Representation: what the layers of a trained network hold, layer by layer below the last.

    probe                 a linear classifier on a layer's activities: fitted on the training
                          split, its L2 chosen on the validation split, read on the test split.
                          A task without one gives up to a fifth of the training examples for it
    participation ratio   (sum lam)^2 / sum lam^2 over the eigenvalues lam of the activities'
                          covariance: how many directions they spread over
    cka                   linear CKA (Kornblith, Norouzi, Lee, Hinton 2019, arXiv 1905.00414)
                          with the reference rule's network of the same seed:
                          |Y'X|^2 / (|X'X| |Y'Y|), Frobenius, columns centred; 1 for what a
                          rotation and a scale take into each other. Left out where the folder
                          has no such network: once it has, `--force` measures again

Activities are those of the forward pass: a rule that answers from its state is measured where
its parameters are read forward all the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.axes.axis import Axis, AxisConfig, Reading, Trained
from bioplaus.experiments.experiment import Experiment
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split

_ELEMENTS = 2**24
"""Activities held at once in a forward pass."""


class RepresentationConfig(AxisConfig):
    """Of how many examples, and which strengths of L2 a probe may have."""

    examples: int = Field(2000, ge=10, description="training examples that probes are fitted on")
    test_examples: int = Field(2000, ge=10, description="test examples, for all three measures")
    l2: tuple[float, ...] = Field(
        (1e-3, 1e-2, 1e-1), min_length=1, description="of a probe; the best on validation counts"
    )
    most_features: int = Field(
        2000, ge=1, description="activities of a layer that are used, the same for all rules"
    )


class Representation(Axis[RepresentationConfig]):
    """Linear probes by layer, participation ratio, and CKA with the reference of the same seed."""

    name = "representation"
    Config = RepresentationConfig
    version = 2

    def supports(self, experiment: Experiment) -> str | None:
        if "classes" not in experiment.task.gives:
            return "probes tell classes apart, and this task has none"
        return None if experiment.network.depth > 1 else "there is no layer below the last"

    @torch.no_grad()
    def measure(self, trained: Trained, report: Callable[[float], None]) -> Mapping[str, Reading]:
        config, data = self.config, trained.data
        assert data.test is not None
        train, held_out = _apart(data.train, data.validation)
        train = _some(train, config.examples, "probe examples")
        held_out = _some(held_out, config.examples, "probe validation")
        test = _some(data.test, config.test_examples, "probe test")
        other = trained.reference()
        layers = range(1, trained.experiment.network.depth)
        probes, ratios, alike = [], [], []
        parts = [self._hidden(trained, split.x) for split in (train, held_out, test)]
        beside = None if other is None else self._hidden(other, test.x)
        for l in range(len(layers)):
            on = [part[l] for part in parts]
            labels = [split.y for split in (train, held_out, test)]
            probes.append(probe(on, labels, config.l2))
            ratios.append(participation_ratio(on[2]))
            if beside is not None:
                alike.append(cka(on[2], beside[l]))
            report((l + 1) / len(layers))
        at = list(map(float, layers))
        found = {
            "probe": Reading(torch.tensor(probes), "layer", at, words="right answers of a linear "
                             "probe on a layer"),
            "participation_ratio": Reading(torch.tensor(ratios), "layer", at, share=False,
                                           words="directions that a layer's activities take"),
        }  # fmt: skip
        if alike:
            found["cka"] = Reading(
                torch.tensor(alike), "layer", at, share=False,
                words="linear CKA with the reference rule's network of the same seed",
            )  # fmt: skip
        return found

    def _hidden(self, trained: Trained, x: Tensor) -> list[Tensor]:
        """The activities of each layer below the last, (N, features), in float64 on the CPU."""
        net = trained.experiment.network
        widest = max(torch.Size(layer.out_shape).numel() for layer in net.layers)
        parts = []
        for chunk in torch.split(x, max(1, _ELEMENTS // (widest * net.depth))):
            trace = net.forward(trained.params, chunk)[:-1]
            parts.append([self._kept(step.output.flatten(1), l) for l, step in enumerate(trace, 1)])
        return [torch.cat(column).double().cpu() for column in zip(*parts, strict=True)]

    def _kept(self, h: Tensor, l: int) -> Tensor:
        most = self.config.most_features
        if h.shape[1] <= most:
            return h
        chosen = Stream(0).at("probed features", l).permutation(h.shape[1])[:most]
        return h[:, chosen.to(h.device)]


def participation_ratio(h: Tensor) -> float:
    """Of activities (N, D); 0 where nothing varies.

    From traces: sum lam = tr C, sum lam^2 = |C|^2, with the smaller of the two Gram matrices.
    """
    centred = h - h.mean(0)
    gram = centred.T @ centred if h.shape[1] <= h.shape[0] else centred @ centred.T
    square = gram.square().sum()
    return float(gram.trace() ** 2 / square) if float(square) > 0 else 0.0


def cka(a: Tensor, b: Tensor) -> float:
    """Linear CKA of activities (N, D) and (N, E) of the same examples; NaN where one is flat."""
    a, b = a - a.mean(0), b - b.mean(0)
    cross = (b.T @ a).square().sum()
    return float(cross / ((a.T @ a).norm() * (b.T @ b).norm()))


def probe(on: list[Tensor], labels: list[Tensor], l2: tuple[float, ...]) -> float:
    """The test accuracy of a multinomial logistic regression on standardised features.

    on, labels: of the training, the validation and the test examples. l2: the strength with
    the best validation accuracy counts, the strongest of equals and where there are no such
    examples; penalty l2 |W|^2 / 2 per example. Of one class alone that class is the answer.
    """
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped,unused-ignore]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped,unused-ignore]

    if bool((labels[0] == labels[0][0]).all()):
        return float((labels[2] == labels[0][0]).double().mean())
    mean, spread = on[0].mean(0), on[0].std(0)
    scaled = [((h - mean) / spread.clamp(min=1e-8)).numpy() for h in on]
    answers = [y.cpu().numpy() for y in labels]
    best = (-1.0, 0.0)
    for strength in sorted(l2, reverse=True):
        model = LogisticRegression(C=1 / (strength * len(answers[0])), max_iter=100)
        with warnings.catch_warnings():
            # 100 iterations are the budget of every probe
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled[0], answers[0])
        validation = float(model.score(scaled[1], answers[1])) if len(answers[1]) else 0.0
        if validation > best[0]:
            best = validation, float(model.score(scaled[2], answers[2]))
    return best[1]


def _apart(train: Split, validation: Split | None) -> tuple[Split, Split]:
    """What probes are fitted on, and what their L2 is chosen on: no example is in both.

    A single example is not parted: nothing is held out then.
    """
    if validation is not None:
        return train, validation
    order = Stream(0).at("probe validation apart").permutation(len(train)).to(train.x.device)
    few = max(1, len(train) // 5) if len(train) > 1 else 0
    return train[torch.sort(order[few:]).values], train[torch.sort(order[:few]).values]


def _some(split: Split, count: int, name: str) -> Split:
    """So many examples, the same for every rule and seed."""
    order = Stream(0).at(name).permutation(len(split))
    return split[torch.sort(order[:count]).values.to(split.x.device)]
