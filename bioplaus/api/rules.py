"""Rules by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bioplaus.errors import ConfigError
from bioplaus.plugins import registry

if TYPE_CHECKING:
    from bioplaus.learning.batching import Rule


def list_rules() -> list[str]:
    """Names of all registered rules, sorted; imports none of them."""
    return registry.names("rule")


def get_rule(name: str, **config: Any) -> Rule:
    """The rule of that name with these options.

    Raises UnknownNameError for a name or option, ConfigError for a bad value.

        rule = bioplaus.get_rule("gaitprop", ortho=0.05)
    """
    from bioplaus.plugins.rules import rule_class

    if not isinstance(name, str):
        raise ConfigError(f"a rule is called by its name, such as 'gaitprop', not {name!r:.60}")
    return rule_class(name).configured(config)
