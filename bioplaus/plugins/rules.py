"""Rules by name, held to what must be true of one before it is asked to train."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from bioplaus.errors import PluginError, shown
from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.rule import LearningRule, Need, RuleConfig
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.system.blame import blaming


def rule_class(name: str) -> type[Rule]:
    """The class of that name.

    Raises UnknownNameError; PluginError where it does not load, or what it says of itself
    is not of the kind that it must be.
    """
    plugin = registry.find("rule", name)
    cls: type[Rule] = plugin.load()
    check_rule_class(cls, plugin.title)
    return cls


def check_rule_class(cls: Any, title: str = "") -> None:
    """PluginError where a class is no whole rule; title: what messages call it."""
    title = title or f"the rule class {getattr(cls, '__name__', cls)}"
    if wrong := _fault(cls):
        raise PluginError(f"{title}: {wrong}")


def check_profile(rule: Rule) -> None:
    """PluginError unless the rule as configured says what it asks of a brain."""
    with blaming(f"the rule {rule.name!r} cannot say its `plausibility`", rule, own=True):
        declared: Any = rule.plausibility
    if not isinstance(declared, Plausibility):
        raise PluginError(
            f"the rule {rule.name!r}: `plausibility` is {shown(repr(declared), 60)}; make it a "
            "@property that returns Plausibility(...)"
        )


def _fault(cls: Any) -> str | None:
    """What is wrong with a class, and what to do; None for nothing."""
    if inspect.isclass(cls) and not isinstance(getattr(cls, "name", None), str):
        return "it has no name: name = 'my-rule'"
    layered = inspect.isclass(cls) and issubclass(cls, LayeredRule)
    base = LayeredRule if layered else LearningRule
    if wrong := fault(cls, base, "bioplaus.LayeredRule or bioplaus.LearningRule"):
        return wrong
    if not inspect.isclass(cls.Config) or not issubclass(cls.Config, RuleConfig):
        return "`Config` must be a class derived from bioplaus.RuleConfig"
    required = [name for name, field in cls.Config.model_fields.items() if field.is_required()]
    if required:
        return f"the option {required[0]} has no default: {required[0]}: float = Field(0.1, ...)"
    if not isinstance(cls.version, int) or isinstance(cls.version, bool) or cls.version < 1:
        return f"`version` is {shown(repr(cls.version), 60)}, not a whole number from 1"
    if not isinstance(getattr(cls, "citation", None), Citation):
        return "it has no `citation`: citation = Citation(authors=..., title=..., year=..., ...)"
    if wrong := _wrong_word(cls):
        return wrong
    if not all(isinstance(item, Published) for item in cls.published):
        return "`published` is a tuple of bioplaus.Published(...), and holds something else"
    return None


def _wrong_word(cls: type[Rule]) -> str | None:
    """What is wrong with what it says in single words; a property's answer is seen later."""
    words: list[Any] = [cls.needs, cls.refresh_every, cls.stackable]
    needs, every, stackable = (None if isinstance(word, property) else word for word in words)
    if needs is not None and needs not in get_args(Need):
        return f"`needs` is {shown(repr(needs), 60)}, due is one of {', '.join(get_args(Need))}"
    if every is not None and (type(every) is not int or every < 1):
        return f"`refresh_every` is {shown(repr(every), 60)}, due is a number of steps, or None"
    quick = [name for name in cls.quick if "." not in name] if isinstance(cls.quick, dict) else ()
    for word, names in (("stackable", stackable or ()), ("quick", quick)):
        if unknown := [name for name in names if name not in cls.Config.model_fields]:
            return f"`{word}` names {shown(unknown[0], 60)}, which is none of its options"
    return None
