"""The file of a task that trains in a blink, and of one that shows its images varied."""

from __future__ import annotations

TINY = """
name = "tiny"
description = "two epochs of digits on a small square network"
dataset = "digits"
validation = 937
loss = "mse"
batch_size = 50
epochs = 2

[optimizer]
name = "adam"
lr = 1e-3

[network]
layers = [
    { type = "dense", units = 16, activation = "leaky_relu(0.1)" },
    { type = "dense", units = 16, activation = "leaky_relu(0.1)" },
]
"""

VARIED = TINY.replace(
    "epochs = 2",
    """epochs = 3
augment = { pad = 1, flip = true, cutout = 2 }
normalise = true
schedule = { kind = "cosine", warmup = 1 }""",
)
