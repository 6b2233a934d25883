"""What a linear reader finds in a layer of a network that learned without labels.

A reader is fitted to embeddings of training images, the same for every rule, and never to the
test split; how much it is held back is chosen on the validation split.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

MOST_EXAMPLES = 10_000
"""That a reader is fitted to."""
PENALTIES = (1e-1, 1e-2, 1e-3)
"""L2 of the logistic reader, in units of the mean loss; the middle one where nothing chooses."""
FEW, FEW_DRAWS, FEW_PENALTIES = 10, 5, (1.0, 1e-1, 1e-2)
"""Labels a class, how often they are drawn, and L2."""
NEIGHBOURS = 5
RIDGE = 1e-2

Floats = NDArray[np.float64]


class Embedded(NamedTuple):
    """Embeddings (N, D) in float64 and their labels (N)."""

    x: Floats
    y: NDArray[np.int64]

    def at(self, index: NDArray[np.int64]) -> Embedded:
        """Some of them."""
        return Embedded(self.x[index], self.y[index])


def embedded(x: Tensor, y: Tensor) -> Embedded:
    """Of tensors on any device, each example flattened."""
    return Embedded(x.flatten(1).double().cpu().numpy(), y.cpu().numpy())


def chosen_examples(count: int) -> Tensor:
    """Which of so many training examples a reader is fitted to: the same for every rule."""
    order = Stream(0).at("probe examples").permutation(count)
    return order[:MOST_EXAMPLES].sort().values


def standardised(splits: Mapping[str, Embedded]) -> dict[str, Embedded]:
    """By mean and deviation of the training split; a unit that never changes stays as it is."""
    x = splits["train"].x
    mean, deviation = x.mean(0), x.std(0)
    deviation[deviation == 0] = 1.0
    return {name: Embedded((s.x - mean) / deviation, s.y) for name, s in splits.items()}


def readings(splits: Mapping[str, Embedded]) -> dict[str, float]:
    """All that readers find: "test_accuracy", "test_probe_few", "test_probe_neighbours", ...

    splits: "train", and those of "validation" and "test" that there are. The accuracies are
    the logistic reader's.
    """
    whole = standardised(splits)
    found = {f"{split}_accuracy": a for split, a in logistic(whole, PENALTIES).items()}
    for split, accuracy in few(splits).items():
        found[f"{split}_probe_few"] = accuracy
    for split in whole.keys() - {"train"}:
        found[f"{split}_probe_neighbours"] = neighbours(whole["train"], whole[split])
    return dict(sorted(found.items()))


def logistic(splits: Mapping[str, Embedded], penalties: Sequence[float]) -> dict[str, float]:
    """Accuracies of multinomial logistic regression: mean cross-entropy + L2 / 2 ||W||^2.

    Of one class alone there is nothing to tell apart: then that class is the answer.
    """
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped,unused-ignore]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped,unused-ignore]

    train, held_out = splits["train"], splits.get("validation")
    if len(np.unique(train.y)) == 1:
        return {n: float(np.mean(s.y == train.y[0])) for n, s in splits.items() if n != "train"}
    model = LogisticRegression(max_iter=100, warm_start=True)
    best: tuple[float, dict[str, float]] | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in penalties if held_out is not None else penalties[1:2]:
            model.set_params(C=1 / (penalty * len(train.y)))
            model.fit(train.x, train.y)
            found = {n: float(np.mean(model.predict(s.x) == s.y))
                     for n, s in splits.items() if n != "train"}  # fmt: skip
            merit = found.get("validation", 0.0)
            if best is None or merit > best[0]:
                best = merit, found
    assert best is not None
    return best[1]


def few(splits: Mapping[str, Embedded]) -> dict[str, float]:
    """The same from `FEW` labels a class, the mean over `FEW_DRAWS` fixed draws of them."""
    train = splits["train"]
    found: dict[str, list[float]] = {}
    for draw in range(FEW_DRAWS):
        index = few_examples(train.y, draw)
        for name, accuracy in logistic(
            standardised({**splits, "train": train.at(index)}), FEW_PENALTIES
        ).items():
            found.setdefault(name, []).append(accuracy)
    return {name: float(np.mean(values)) for name, values in found.items()}


def few_examples(labels: NDArray[np.int64], draw: int) -> NDArray[np.int64]:
    """Where the labels of a draw stand: the first `FEW` of each class in a fixed order."""
    order = Stream(0).at("few labels", draw).permutation(len(labels)).numpy()
    parts = [order[labels[order] == c][:FEW] for c in np.unique(labels)]
    return np.sort(np.concatenate(parts))


def neighbours(train: Embedded, other: Embedded) -> float:
    """Accuracy of the most frequent label of the five nearest, of equals the smallest.

    Of fewer examples all are near.
    """
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped,unused-ignore]

    model = KNeighborsClassifier(min(NEIGHBOURS, len(train.y))).fit(train.x, train.y)
    return float(np.mean(model.predict(other.x) == other.y))


def ridge(train: Embedded, other: Embedded) -> float:
    """Accuracy of ridge regression on one-hot labels, in closed form: for curves alone."""
    both = standardised({"train": train, "other": other})
    x, classes = both["train"].x, np.unique(train.y)
    y = (train.y[:, None] == classes).astype(np.float64)
    mean = y.mean(0)
    gram = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (y - mean) / len(x))
    answers = classes[(both["other"].x @ weight + mean).argmax(1)]
    return float(np.mean(answers == other.y))


def in_chunks(embed: Callable[[Tensor], Tensor], x: Tensor, size: int = 5_000) -> Tensor:
    """Embeddings of many examples, a few at a time."""
    return torch.cat([embed(part) for part in torch.split(x, size)])
