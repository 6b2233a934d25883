"""Whether a module does what its class of torch does, and nothing beside it.

A learning rule computes the forward pass itself, from a module's type, settings and parameters.
Whatever else decides what a module gives (a `forward` of its own, hooks, parametrizations) would
be passed over in silence: such modules are refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from bioplaus.errors import ConfigError

_HOOKS = {
    "_forward_pre_hooks": "a forward pre-hook",
    "_forward_hooks": "a forward hook",
    "_backward_pre_hooks": "a backward pre-hook",
    "_backward_hooks": "a backward hook",
}
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_COMPUTED = {
    "WeightNorm": "torch.nn.utils.remove_weight_norm(module)",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(module)",
}
"""Of torch's hooks that compute a weight before each call, how to end them."""
_METHODS = ("forward", "__call__", "_conv_forward", "_check_input_dim")


def check_plain(module: nn.Module, kind: type[nn.Module], parameters: Iterable[str] = ()) -> None:
    """ConfigError where the module does something else than `kind`, which it derives from.

    parameters: the names that it may have; others, and modules inside, are refused. None are
    looked at for a container.
    """
    _check_computed(module)
    if not issubclass(kind, nn.Sequential):
        _check_parameters(module, tuple(parameters))
    _check_methods(module, kind)
    _check_hooks(module)


def check_hooks(module: nn.Module) -> None:
    """ConfigError where something beside its class decides what a module gives."""
    _check_computed(module)
    _check_methods(module, type(module))
    _check_hooks(module)


def _check_hooks(module: nn.Module) -> None:
    for attribute, what in _HOOKS.items():
        if getattr(module, attribute, None):
            raise ConfigError(
                f"it has {what}, which no learning rule calls: remove it (handle.remove())"
            )


def _check_computed(module: nn.Module) -> None:
    """That no weight is computed from others before each call."""
    if parametrize.is_parametrized(module):
        names = ", ".join(module.parametrizations)  # type: ignore[arg-type]
        raise ConfigError(
            f"its {names} is parametrized, and a rule would not train it as that: make it plain "
            "by torch.nn.utils.parametrize.remove_parametrizations"
        )
    for hook in getattr(module, "_forward_pre_hooks", {}).values():
        name = type(hook).__name__
        if name in _COMPUTED or type(hook).__module__ == "torch.nn.utils.prune":
            way = _COMPUTED.get(name, "torch.nn.utils.prune.remove(module, name)")
            raise ConfigError(
                f"{name} computes its weight before each call, and a rule would not: make it "
                f"plain by {way}"
            )


def _check_methods(module: nn.Module, kind: type[nn.Module]) -> None:
    for name in _METHODS:
        own = getattr(type(module), name, None) is not getattr(kind, name, None)
        if own or name in vars(module):
            raise ConfigError(
                f"it has a {name} of its own, and a learning rule knows {kind.__name__}'s alone: "
                "use the plain module"
            )


def _check_parameters(module: nn.Module, known: tuple[str, ...]) -> None:
    foreign = [name for name in (*module._parameters, *module._modules) if name not in known]
    if foreign:
        raise ConfigError(f"no learning rule knows its {', '.join(foreign)}")
    for name in known:
        value = getattr(module, name, None)
        if value is None:
            continue
        if is_lazy(value):
            raise ConfigError("its sizes are not known yet: call the model on a batch first")
        if not isinstance(value, nn.Parameter):
            raise ConfigError(f"its {name} is no nn.Parameter, so that nothing can train it")
        if any(getattr(value, hooks, None) for hooks in _TENSOR_HOOKS):
            raise ConfigError(
                f"its {name} has a gradient hook, which no learning rule calls: remove it"
            )


def check_sizes(module: nn.Module, **due: tuple[int, ...]) -> None:
    """ConfigError where a parameter has another shape than the module's settings say."""
    for name, shape in due.items():
        value = getattr(module, name)
        given = tuple(value.shape) if isinstance(value, Tensor) else None
        if given != shape:
            raise ConfigError(f"its {name} has the shape {given}, but its settings say {shape}")
