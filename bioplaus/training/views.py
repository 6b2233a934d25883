"""Two views of every example of a batch, each a small affine map of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_views(images: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """Each image seen through theta = I + strength (u - 1/2); same shape.

    images: (B, channels, height, width). drawn: u, (B, 6), uniform on (0, 1). Outside of the
    image all is 0; between pixels the values are linear.
    """
    theta = torch.eye(2, 3, dtype=images.dtype, device=images.device)
    theta = theta + strength * (drawn - 0.5).reshape(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def two_views(x: Tensor, drawn: Tensor, strength: float, shape: Sequence[int]) -> Tensor:
    """Of stacked examples (R, N, ...) the first views of all and then the second, (R, 2N, ...).

    drawn: (R, 2N, 6). shape: of one image. Replicas and examples are one batch to the
    transform, which treats each by itself: vmap has no rule for it.
    """
    replicas, count = x.shape[:2]
    twice = torch.cat([x, x], dim=1)
    images = twice.reshape(replicas * 2 * count, *shape)
    seen = affine_views(images, drawn.reshape(-1, 6), strength)
    return seen.reshape(twice.shape)
