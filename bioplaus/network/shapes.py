"""Shapes of what passes through a network, as types: `N` examples, and each one's shape.

Names stand for one size within a call: what a layer reads has its input's shape, whatever
that is, and what it gives its output's. A runtime checker such as beartype holds calls to
them (`jaxtyping.jaxtyped`); nothing is checked otherwise.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

Below = Float[Tensor, "N *inputs"]
"""Activities or errors below a layer, h_{l-1} or e_{l-1}."""

Above = Float[Tensor, "N *outputs"]
"""Pre-activations, slopes, activities or post-synaptic vectors of a layer."""

Outputs = Float[Tensor, "N units"]
"""Activities or errors of the last layer, a vector for each example."""

Targets = Float[Tensor, "N classes"]
"""One-hot or real, for the first units of the last layer."""
