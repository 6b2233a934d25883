"""The file of a task that trains in a blink."""

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
