"""Axes by name, held to what must be true of one before it measures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from bioplaus.axes.axis import Axis, AxisConfig
from bioplaus.errors import PluginError, shown
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.system.blame import blaming

AnyAxis = Axis[Any]


def axis_class(name: str) -> type[AnyAxis]:
    """The class of that name; UnknownNameError, or PluginError where it is no whole axis."""
    plugin = registry.find("axis", name)
    cls = plugin.load()
    if wrong := _fault(cls):
        raise PluginError(f"{plugin.title}: {wrong}")
    return cls  # type: ignore[no-any-return]


def configured(name: str, settings: Mapping[str, object] | None = None) -> AnyAxis:
    """The axis with these settings; ConfigError or UnknownNameError for a bad one."""
    cls = axis_class(name)
    with blaming(f"the axis {name!r} cannot be made", cls):
        return cls.configured(settings)


def _fault(cls: Any) -> str | None:
    if wrong := fault(cls, Axis, "bioplaus.axes.Axis"):
        return wrong
    if not inspect.isclass(cls.Config) or not issubclass(cls.Config, AxisConfig):
        return "`Config` must be a class derived from bioplaus.axes.AxisConfig"
    required = [n for n, field in cls.Config.model_fields.items() if field.is_required()]
    if required:
        return f"the setting {required[0]} has no default: {required[0]}: float = Field(0.1, ...)"
    if not isinstance(cls.version, int) or isinstance(cls.version, bool) or cls.version < 1:
        return f"`version` is {shown(repr(cls.version), 60)}, not a whole number from 1"
    return None
