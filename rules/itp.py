"""Incremental target propagation: GAIT-prop without the gradient adjustment.

u_l = (1 - gamma) h_l + gamma t_l, whatever the slope of f: in the difference form
e_{l-1} = W_l^{-1} (e_l / D_l), which is the Gauss-Newton target J_l^{-1} e_l. Each
negative unit of a leaky ReLU of slope 0.1 multiplies the error by ten.
"""

from __future__ import annotations

from pydantic import Field

from .gaitprop import GaitProp, GaitPropConfig


class ItpConfig(GaitPropConfig):
    adjust: bool = Field(
        False, description="gate the targets by f'^2; false is incremental target propagation"
    )


class Itp(GaitProp):
    """Incremental target propagation: e_{l-1} = W_l^{-1} (e_l / D_l), Gauss-Newton targets."""

    name = "itp"
    preset_of = "gaitprop"
    Config = ItpConfig
