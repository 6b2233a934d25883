"""Layers of plugins in task files: found by name, imported when a task asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bioplaus.errors import PluginError, shown
from bioplaus.network import layer_kind
from bioplaus.network.layer_kind import LayerKind
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault


class _Installed(Mapping[str, type[LayerKind]]):
    """The kinds of layers that are installed."""

    def __getitem__(self, name: str) -> type[LayerKind]:
        plugin = registry.find("layer", name)
        cls = plugin.load()
        if wrong := fault(cls, LayerKind, "bioplaus.LayerKind"):
            raise PluginError(f"{plugin.title}: {wrong}")
        if not (isinstance(cls.version, int) and cls.version >= 1):
            raise PluginError(
                f"{plugin.title}: its version is {shown(repr(cls.version), 60)}, due is a whole "
                "number from 1"
            )
        return cls  # type: ignore[no-any-return]

    def __contains__(self, name: object) -> bool:
        return name in registry.plugins("layer")

    def __iter__(self) -> Iterator[str]:
        return iter(registry.names("layer"))

    def __len__(self) -> int:
        return len(registry.names("layer"))


_INSTALLED = _Installed()
layer_kind.add_kinds(_INSTALLED)


def versions(content: Any) -> dict[str, int]:
    """Kind -> version, of all that a task's content names: part of a record's key."""
    if isinstance(content, Mapping):
        kind = content.get("type")
        found = versions(list(content.values()))
        if isinstance(kind, str) and kind in _INSTALLED:
            found[kind] = _INSTALLED[kind].version
        return found
    if isinstance(content, list | tuple):
        return {name: version for item in content for name, version in versions(item).items()}
    return {}
