"""Results that several rules share a source of, each read there."""

from __future__ import annotations

from bioplaus.learning.profile import Published

_BIOTORCH = "BioTorch (jsalbert/biotorch), Benchmarks.md"
_LENET = "LeNet on 32 x 32 inputs, SGD, 100 epochs"
_AKROUT = "code of Akrout et al. 2019 (makrout/Deep-Learning-without-Weight-Transport), its logs"


def biotorch(mnist_error: float, fashion_mnist_error: float, note: str = "") -> list[Published]:
    """Top-1 errors in percent of BioTorch's LeNet."""
    errors = {"mnist": mnist_error, "fashion-mnist": fashion_mnist_error}
    return [
        Published(
            metric=f"{data} test accuracy",
            value=round(1 - error / 100, 4),
            note=", ".join(filter(None, (_LENET, note))),
            source=_BIOTORCH,
        )
        for data, error in errors.items()
    ]


def akrout(mnist: float) -> Published:
    """Accuracy in percent of the authors' log at epoch 400."""
    return Published(
        metric="mnist test accuracy",
        value=round(mnist / 100, 4),
        note="784-500-10 sigmoid, 400 epochs, one seed",
        source=_AKROUT,
    )
