"""What is measured of trained networks afterwards, and never changes how they train.

An axis is a plugin: `Axis` is its contract. May import `running` and what is below it: see
docs/design.md.
"""

from bioplaus.axes.axis import Axis, AxisConfig, Reading, Trained

__all__ = ["Axis", "AxisConfig", "Reading", "Trained"]
