"""Does a measurement reproduce? It is made again from the weights and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bioplaus.axes.by_name import configured
from bioplaus.axes.measuring import Measuring, measurement
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.records.keys import digest
from bioplaus.records.reading import read_record
from bioplaus.records.schema import Measurement, ResultSet
from bioplaus.records.store import Store
from bioplaus.running.verify import accuracy_tolerance, experiment_of
from bioplaus.system.device import provenance, resolve_device

ROUNDING = 1e-2
"""How far a number that is no share may be off, relative, where only rounding differs."""


_SAME_FOR_BITS = ("device", "device_type", "threads")
"""Provenance that must agree before all bits are expected to."""


@dataclass(frozen=True)
class MeasuredAgain:
    """What came out."""

    reproduces: bool
    exact: bool
    """Whether every number is the same."""
    reasons: list[str]
    again: Measurement
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass
class Remeasuring:
    """Measures again what lies in one or several folders; what they need is read once."""

    watch: Callable[[str, float], None] = lambda what, done: None
    _known: dict[tuple[Path, str, str], Measuring] = field(default_factory=dict)

    def verify(self, path: Path, item: Measurement) -> MeasuredAgain:
        """From the weights beside it, or those of its record trained again.

        BioplausError where that cannot be done here: no record beside it, another version of
        the axis or the rule, a record that does not reproduce.
        """
        beside = path.with_name(f"seed-{item.seed:04d}.json")
        record = read_record(beside)
        if record.key != item.record:
            raise BioplausError(f"{beside} is not the record that was measured")
        measuring = self._measuring(path, item)
        weights = measuring.weights(record)
        readings = measuring.readings(record, weights)
        origin = provenance(measuring.device, torch.get_num_threads(), (item.seed,))
        again = measurement(measuring.axis, record, weights, readings, origin)
        reasons = [
            f"{name} was {item.provenance.get(name)}, is {origin.get(name)}"
            for name in _SAME_FOR_BITS
            if item.provenance.get(name) != origin.get(name)
        ]
        same = again.weights == item.weights
        reasons += [] if same else ["the weights are not the same to the last bit"]
        exact = again.values == item.values
        test = experiment_of(record)[1].test
        found = [] if exact else differences(item, again, same, len(test))
        if not exact and not reasons:
            found = found or ["the numbers differ, though nothing else does"]
        return MeasuredAgain(not found, exact and same, [*reasons, *found], again, origin)

    def _measuring(self, path: Path, item: Measurement) -> Measuring:
        axis = configured(item.axis, item.settings)
        if axis.version != item.version:
            raise ConfigError(
                f"measured by version {item.version} of {item.axis}; version {axis.version} is here"
            )
        folder = path.parents[3] if len(path.parents) > 3 else path.parent
        where = str(item.provenance.get("device_type", "cpu"))
        key = folder, digest({"axis": item.axis, "settings": item.settings}), where
        if key not in self._known:
            store = Store(folder)
            found = ResultSet(store.read_all().records)
            self._known[key] = Measuring(axis, store, found, resolve_device(where), self.watch)
        return self._known[key]


def differences(old: Measurement, new: Measurement, same: bool, test: int) -> list[str]:
    """What is further off than rounding explains."""
    if old.values.keys() != new.values.keys():
        return ["other numbers were measured"]
    most = old.settings.get("examples")
    examples = min(test, most) if isinstance(most, int) else test
    found = []
    for name, value in old.values.items():
        pairs = zip(_listed(value), _listed(new.values[name]), strict=False)
        for a, b in pairs:
            if (a is None) != (b is None):
                found.append(f"{name} was {a}, is {b}")
            elif a is not None and b is not None:
                share = old.described[name].share
                relative = ROUNDING if same else 10 * ROUNDING
                allowed = accuracy_tolerance(a, examples) if share else relative * abs(a)
                if abs(a - b) > allowed:
                    found.append(f"{name} was {a:.4g}, is {b:.4g}: more than {allowed:.2g} off")
    return found


def _listed(value: float | list[float | None] | None) -> list[float | None]:
    return value if isinstance(value, list) else [value]
