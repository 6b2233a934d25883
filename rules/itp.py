"""Incremental target propagation: GAIT-prop without the gradient adjustment.

u_l = (1 - gamma) h_l + gamma t_l, whatever the slope of f: in the difference form
e_{l-1} = W_l^{-1} (e_l / D_l), which is the Gauss-Newton target J_l^{-1} e_l. Each
negative unit of a leaky ReLU of slope 0.1 multiplies the error by ten.

The paper has it clearly below backprop and GAIT-prop. No published settings are known to
us: the learning rate and the regulariser had the best validation accuracy on
digits-square (89.3 %, three seeds) among rates of 5e-5 to 1e-3 and strengths of 0.1 to
1000, not every pair of which was tried.
"""

from __future__ import annotations

from pydantic import Field

from bioplaus.learning.optimizers import OptimizerSpec

from .gaitprop import GaitProp, GaitPropConfig


class ItpConfig(GaitPropConfig):
    adjust: bool = Field(
        False, description="gate the targets by f'^2; false is incremental target propagation"
    )
    ortho: float = Field(10.0, ge=0, description="lambda, strength of the regulariser")


class Itp(GaitProp):
    """Incremental target propagation: e_{l-1} = W_l^{-1} (e_l / D_l), Gauss-Newton targets."""

    name = "itp"
    preset_of = "gaitprop"
    Config = ItpConfig

    @property
    def optimizer(self) -> OptimizerSpec:
        """Chosen on the validation split of digits-square."""
        return OptimizerSpec(name="adam", lr=4e-4)
