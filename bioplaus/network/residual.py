"""Residual blocks, h + F(h), as nodes of a graph: a copy of h, the layers of F, and a sum."""

from __future__ import annotations

from bioplaus.errors import ConfigError
from bioplaus.network.combining import Add
from bioplaus.network.layer import Shape


def copied(block_input: Shape) -> Add:
    """The start of a block: what its layers work on, beside what is carried past them.

    It is a layer of its own, since layers are counted, and records name them by their number.
    """
    return Add(block_input, terms=1)


def joined(block_input: Shape, block_output: Shape) -> Add:
    """The end of a block; ConfigError where its output cannot be added to its input."""
    if block_input != block_output:
        raise ConfigError(
            f"its layers give the shape {block_output}, but its input has {block_input}: "
            "the two are added, so make them equal"
        )
    return Add(block_input)
