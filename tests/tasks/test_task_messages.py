"""What is said of networks that cannot be what a task asks for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bioplaus import tasks
from bioplaus.errors import ConfigError
from bioplaus.tasks.task import Task

ROW: list[dict[str, Any]] = [
    {"name": "a", "type": "dense", "units": 8},
    {"name": "b", "type": "dense", "units": 8},
    {"name": "o", "type": "dense", "units": 10},
]


def changed(task: str, **network: object) -> dict[str, Any]:
    table = copy.deepcopy(dict(tasks.table(task)))
    return {**table, "network": network}


def test_a_tie_to_a_name_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"node c is tied to bb, no node before it.*a, b"):
        Task.model_validate(changed("digits-mlp", nodes=[*ROW[:2], {"name": "c", "tie": "bb"}]))


def test_an_encoder_among_nodes() -> None:
    nodes = [{"name": "e", "type": "encode"}, *ROW]
    with pytest.raises(ValueError, match="a graph has no time"):
        Task.model_validate(changed("digits-mlp", nodes=nodes, steps=4))


def test_too_few_units_for_an_example() -> None:
    layers = [{"type": "dense", "units": 8, "activation": "tanh"}, {"type": "dense", "units": 5}]
    wrong = Task.model_validate(changed("digits-reconstruction", layers=layers))
    with pytest.raises(ConfigError, match="has 5 units, and 64 numbers are to be learned"):
        wrong.build_network()
