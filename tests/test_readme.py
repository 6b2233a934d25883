"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import torch

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_drop_in_example_learns_digits() -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(blocks()[0], names)
    accuracy = names["accuracy"]
    assert isinstance(accuracy, torch.Tensor)
    assert accuracy > 0.9


def test_the_example_rule_is_what_it_says() -> None:
    """Errors halved at each layer: the last layer's gradient is backprop's, the one below half."""
    from bioplaus.registry import load
    from bioplaus.rule import Batch, RuleConfig, State
    from bioplaus.streams import Stream
    from bioplaus.task import read_task

    names: dict[str, type] = {}
    exec(blocks()[1], names)
    mine = names["Mine"]
    mine.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    net = read_task("digits-square").build_network()
    params = net.init(Stream(0))
    batch = Batch(Stream(1).normal((5, 64)), torch.eye(10, dtype=torch.float64)[:5])
    ours = mine(RuleConfig()).update(net, params, State({}, {}), batch, {}).grads
    rule = load("rule", "backprop").configured()
    exact = rule.update(net, params, State({}, {}), batch, {}).grads
    for l in range(1, 5):
        scale = 0.5 ** (4 - l)
        assert torch.allclose(ours[f"{l}.weight"], scale * exact[f"{l}.weight"], atol=1e-15)
