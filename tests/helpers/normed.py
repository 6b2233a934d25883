"""Task files with batch normalisation."""

from __future__ import annotations

EPOCHS = 3
HEAD = f"""
name = "normed"
dataset = "digits"
validation = 1347
loss = "cross_entropy"
batch_size = 30
epochs = {EPOCHS}
[optimizer]
name = "sgd"
lr = 0.1
momentum = 0.9
weight_decay = 0.01
[network]
"""
DENSE = """layers = [
    { units = 12 },
    { type = "batch_norm", activation = "tanh" },
    { type = "dropout", rate = 0.25 },
    { units = 8 },
    { type = "batch_norm", momentum = 0.3 },
    { units = 10 },
]
"""
CONV = """layers = [
    { type = "conv2d", channels = 3, kernel = 3, stride = 2, padding = 1 },
    { type = "batch_norm", activation = "leaky_relu(0.1)" },
    { type = "residual", layers = [
        { type = "conv2d", channels = 3, kernel = 3, padding = 1 },
        { type = "batch_norm", activation = "tanh" },
    ] },
    { type = "flatten" },
    { type = "dense", units = 10 },
]
"""
NODES = """nodes = [
    { name = "a", type = "conv2d", channels = 3, kernel = 3, stride = 2, padding = 1 },
    { name = "b", type = "batch_norm", activation = "leaky_relu(0.1)" },
    { name = "c", type = "conv2d", channels = 3, kernel = 3, padding = 1 },
    { name = "d", type = "batch_norm", activation = "tanh" },
    { name = "e", type = "add", inputs = ["b", "d"] },
    { name = "f", type = "flatten" },
    { name = "g", units = 10 },
]
"""
