"""Checks of the class: what it says of itself, its options, and what it supports."""

from __future__ import annotations

from pydantic import ValidationError

from bioplaus.errors import BioplausError, ConfigError, UnknownNameError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import LearningRule, RuleConfig
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.cases import Case, variants
from bioplaus.testing.check import check
from bioplaus.testing.failures import require
from bioplaus.testing.networks import NETWORKS

STEPS = 64
"""As many as `variant` is asked for."""
MOST_VARIANTS = 8
"""Of them: each costs the time and the memory of a trace."""


@check("class", "It is a learning rule, and can be made of its options.", "rule")
def kind(case: Case) -> str:
    cls = case.cls
    require(
        isinstance(cls, type) and issubclass(cls, LearningRule),
        f"{cls!r} is not a LearningRule",
        "derive the class from bioplaus.LearningRule or bioplaus.LayeredRule",
    )
    missing = sorted(cls.__abstractmethods__)
    require(not missing, f"the class lacks {', '.join(missing)}", "define what is named")
    cls.configured()
    return ""


@check("description", "The class says what it is: a summary, a version, a citation.", "rule")
def description(case: Case) -> str:
    cls = case.cls
    summary = (cls.__doc__ or "").partition("\n")[0]
    require(
        summary.endswith("."),
        f"the docstring's first line is {summary!r}",
        "begin the class's docstring with one sentence; `bioplaus list rules` shows it",
    )
    require(
        isinstance(cls.version, int) and cls.version >= 1,
        f"version is {cls.version!r}",
        "version is a whole number from 1; raise it when results change",
    )
    citation = getattr(cls, "citation", None)
    hint = "citation = Citation(authors=..., title=..., year=..., venue=... or identifier=...)"
    require(isinstance(citation, Citation), "there is no citation", hint)
    assert isinstance(citation, Citation)
    filled = citation.authors and citation.title and (citation.venue or citation.identifier)
    require(
        bool(filled) and 1900 < citation.year < 2100,
        f"the citation is incomplete: {citation}",
        hint,
    )
    return str(citation)


@check("options", "Options have defaults and descriptions, and survive a round trip.", "rule")
def options(case: Case) -> str:
    cls = case.cls
    for option, info in cls.Config.model_fields.items():
        hint = f'{option}: float = Field(0.1, description="...")'
        require(bool(info.description), f"the option {option} has no description", hint)
        require(not info.is_required(), f"the option {option} has no default", hint)
    for chosen in variants(cls):
        config = cls.configured(chosen).config
        hint = "keep options to numbers, text, lists and dicts: they go into every record as JSON"
        require(isinstance(config, RuleConfig), f"{config!r} is not a RuleConfig", hint)
        kinds = type(config)
        same = kinds.model_validate(config.model_dump()) == config
        same = same and kinds.model_validate_json(config.model_dump_json()) == config
        require(same, f"the configuration changes on its way through JSON: {config!r}", hint)
    hint = "leave extra='forbid' and frozen=True of RuleConfig as they are"
    try:
        cls.configured({"no_such_option": 1})
    except UnknownNameError:
        pass
    else:
        require(False, "an option that does not exist is not refused", hint)
    for option in cls.Config.model_fields:
        try:
            config = cls.configured().config
            setattr(config, option, getattr(config, option))
        except (ValidationError, ConfigError):
            continue
        require(False, f"the configuration can be changed: {option}", hint)
    return ", ".join(cls.Config.model_fields) or "none"


@check("profile", "A plausibility profile is filled in under every configuration.", "rule")
def profile(case: Case) -> str:
    for chosen in variants(case.cls):
        declared = case.cls.configured(chosen).plausibility
        hint = "return Plausibility(weight_transport=..., phases=..., ...) from `plausibility`"
        require(isinstance(declared, Plausibility), f"plausibility is {declared!r}", hint)
        require(bool(declared.phases), "`phases` is empty", "name the passes, or write 'none'")
        require(bool(declared.auxiliary), "`auxiliary` is empty", "write 'none' for nothing")
    return ""


@check("variants", "Steps are made by few variants of the rule.", "rule")
def variants_kept(case: Case) -> str:
    rule = case.rule
    found = {id(variant): variant for variant in (rule.variant(step) for step in range(STEPS))}
    require(
        all(isinstance(variant, LearningRule) for variant in found.values()),
        "`variant` returns what is no rule",
        "return self, or another object of the class",
    )
    require(
        len(found) <= MOST_VARIANTS,
        f"`variant` returns {len(found)} objects in {STEPS} steps, and each is traced anew: slow, "
        "and memory grows with every step",
        "make each variant once and return the same object again: keep them in the rule, by "
        "functools.cached_property say",
    )
    return f"{len(found)} in {STEPS} steps" if len(found) > 1 else ""


@check("optimizers", "Recommended optimizers are data.", "rule")
def optimizers(case: Case) -> str:
    rule = case.rule
    hint = "return an OptimizerSpec; aux_optimizer may also be 'same' or None"
    own = rule.aux_optimizer
    ours = rule.optimizer
    require(ours is None or isinstance(ours, OptimizerSpec), f"optimizer is {ours!r}", hint)
    require(
        own in ("same", None) or isinstance(own, OptimizerSpec), f"aux_optimizer is {own!r}", hint
    )
    aux = rule.init_state(case.net, case.inputs(0)[0], Stream(0).at("state")).aux
    require(
        not aux or own is not None,
        f"the auxiliary parameters {', '.join(aux)} have no optimizer",
        "name one in `aux_optimizer`, or keep what does not learn in `memory`",
    )
    return ""


@check("networks", "It supports some network, and says why not the others.", "rule")
def networks(case: Case) -> str:
    nets = dict(NETWORKS) | {case.network: case.net}
    supported: set[str] = set()
    for chosen in variants(case.cls):
        try:
            rule = case.cls.configured(chosen)
        except BioplausError as error:
            require(False, f"{chosen}: {error}", "let every choice of an option be valid alone")
        reasons = {name: rule.supports(net) for name, net in nets.items()}
        require(
            "" not in reasons.values(),
            "`supports` returns ''",
            "return None where the network is supported, else the reason why not",
        )
        require(
            None in reasons.values(),
            f"with {chosen or 'default options'} it supports none of the kit's networks: "
            + "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
            "give the kit a network that it does: `networks = {...}` in a RuleConformance class",
        )
        supported |= {name for name, reason in reasons.items() if reason is None}
    return ", ".join(name for name in nets if name in supported)


CHECKS = (kind, description, options, profile, networks, variants_kept, optimizers)
