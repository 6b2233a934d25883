"""Models with a `forward` of their own, as people write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Of a ResNet, after torchvision's: convolutions, batch normalisation, and a skip."""

    def __init__(self, channels: int, planes: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        bias = not norm
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(planes) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(planes) if norm else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != planes:
            skip = nn.Conv2d(channels, planes, 1, stride, bias=bias)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(planes)) if norm else skip

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A stem with overlapping pooling, two stages, global pooling and a readout."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.Sequential(BasicBlock(4, 4, norm=norm), BasicBlock(4, 6, 2, norm=norm))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.pool(torch.tanh(self.stem(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


class Dense(nn.Module):
    """Each layer reads all before it, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(7, 4), nn.Linear(11, 4), nn.Linear(15, 4)])
        self.out = nn.Linear(19, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x).tanh()], dim=1)
        return self.out(x)  # type: ignore[no-any-return]


class Gated(nn.Module):
    """A gate and what it lets pass, of one layer; a pre-activation that is read elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.after = nn.Linear(7, 12), nn.Linear(6, 6)
        self.out = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        gate, let = self.both(x).chunk(2, dim=-1)
        h = torch.sigmoid(gate) * F.relu(let)
        drive = self.after(h)
        return self.out(F.leaky_relu(drive, 0.2) + drive * h)  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """One cell, called at each time step: its weights learn the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell = nn.Linear(2, 6), nn.Linear(8, 6)
        self.out = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x[:, :2]).tanh()
        for t in range(1, 4):
            h = self.cell(torch.cat((x[:, 2 * t : 2 * t + 2], h), 1)).tanh()
        return self.out(h)  # type: ignore[no-any-return]


class Functional(nn.Module):
    """Pooling, views and means as functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)
        self.flat, self.out = nn.Linear(4 * 9, 4), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(torch.relu(self.conv(x)), 2)
        mean = self.again(h).sigmoid().mean(dim=[2, 3])
        flat = h.view(h.size(0), -1)
        return self.out(torch.concat([mean, self.flat(flat.reshape(x.shape[0], 36)).relu()], -1))  # type: ignore[no-any-return]


class Inner(nn.Module):
    """A block of one's own, in a Sequential."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(units, units), nn.Tanh(), nn.Linear(units, units))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.inside(x), x)


def sequential() -> nn.Sequential:
    return nn.Sequential(nn.Linear(7, 6), Inner(6), nn.Tanh(), Inner(6), nn.Linear(6, 5))


class Plain(nn.Module):
    """A multilayer perceptron as a class."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(6, 5), nn.Linear(7, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet": (ResNet, (1, 8, 8)),
    "resnet without norm": (lambda: ResNet(norm=False), (1, 8, 8)),
    "dense": (Dense, (7,)),
    "gated": (Gated, (7,)),
    "recurrent": (Recurrent, (8,)),
    "functional": (Functional, (1, 8, 8)),
    "sequential": (sequential, (7,)),
    "plain": (Plain, (7,)),
}
