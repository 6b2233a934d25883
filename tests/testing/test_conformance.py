"""What every registered rule must do. A new rule is tested here by being registered.

The checks are the public kit's, `bioplaus.testing`: what is asked of the built-in rules is
asked of everybody's.
"""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.batching import Rule
from bioplaus.plugins import registry
from bioplaus.testing import RuleConformance
from bioplaus.testing.contract import slow_fallbacks_raise


class TestEveryRule(RuleConformance):
    @classmethod
    def rules_under_test(cls) -> list[type[Rule]]:
        return [registry.load("rule", name) for name in registry.names("rule")]


@pytest.mark.parametrize("name", registry.names("rule"))
def test_the_list_shows_the_docstring(name: str) -> None:
    rule = registry.load("rule", name)
    assert rule.name == name
    assert registry.plugins("rule")[name].summary() == (rule.__doc__ or "").partition("\n")[0]


def test_a_slow_fallback_does_raise() -> None:
    pooled = torch.zeros(2, 1, 1, 2, 2)
    indices = torch.zeros(2, 1, 1, 2, 2, dtype=torch.int64)
    with slow_fallbacks_raise(), pytest.raises(UserWarning, match="performance drop"):
        torch.vmap(lambda a, i: torch.nn.functional.max_unpool2d(a, i, 2))(pooled, indices)
