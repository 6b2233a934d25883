"""What does not learn in a step: what a rule says of it, as names of tensors."""

from __future__ import annotations

from collections.abc import Iterable

from bioplaus.errors import PluginError, shown
from bioplaus.learning.batching import Rule
from bioplaus.learning.update import Resting, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network


def resting_at(rule: Rule, net: Network, step: int, params: Params, state: State) -> Resting:
    """`rule.rests`, in full names; PluginError where it is no `Resting`, or names what is not."""
    said = rule.rests(net, step)
    if not isinstance(said, Resting):
        raise PluginError(
            f"the rule {rule.name!r}: `rests` returned {shown(repr(said), 60)}; return "
            "bioplaus.Resting(params=frozenset(names), aux=frozenset(names))"
        )
    if not any(said):
        return said
    return Resting(
        _names(rule, "params", said.params, params), _names(rule, "aux", said.aux, state.aux)
    )


def _names(rule: Rule, field: str, said: Iterable[str], due: Iterable[str]) -> frozenset[str]:
    if isinstance(said, str):
        raise PluginError(
            f"the rule {rule.name!r}: `rests` gives the text {shown(said)} as {field}; give a "
            "frozenset of names"
        )
    found: set[str] = set()
    for name in said:
        meant = {full for full in due if full == name or full.startswith(f"{name}.")}
        if not meant:
            raise PluginError(
                f"the rule {rule.name!r}: `rests` names {shown(str(name), 60)}, which is none of "
                f"its {field}: {', '.join(due) or 'there are none'}"
            )
        found |= meant
    return frozenset(found)
