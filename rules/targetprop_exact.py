"""Target propagation with exact inverses: the TP baseline of the GAIT-prop paper.

The whole target is inverted (eta_t = 1), t_{l-1} = W_l^{-1} (f^{-1}(t_l) - b_l), and every
layer learns towards its target, d_l = D_l (h_l - t_l). With the squared error t_L is the
label itself.

The paper has it clearly below backprop and GAIT-prop. Its learning rate is meant for
100,000 steps: a run of digits-square has 2,000, in which it hardly moves the weights (29 %
validation accuracy over five seeds; 81 % after 500 epochs, over two). There,
optimizer.lr=5e-4 with ortho=100 had the best of those tried, 89 %.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation
from bioplaus.learning.search_space import Around, SearchSpace

from .targetprop import TargetProp, TargetPropConfig


class TargetPropExactConfig(TargetPropConfig):
    """Defaults are the GAIT-prop authors' (run.py, --algorithm=TP)."""

    inverse: Literal["learned", "exact"] = Field(
        "exact", description="learned: V_l and c_l; exact: the layer inverted"
    )
    target_step: float = Field(1.0, gt=0, description="eta_t, how far the top target is moved")
    ortho: float = Field(1000.0, ge=0, description="strength of the orthogonality regulariser")


class TargetPropExact(TargetProp):
    """Target propagation with exact inverses: the whole target, inverted layer by layer."""

    name = "targetprop-exact"
    preset_of = "targetprop"
    Config = TargetPropExactConfig
    citation = Citation(
        authors="Ahmad, van Gerven and Ambrogioni",
        title="GAIT-prop: A biologically plausible learning rule derived from "
        "backpropagation of error",
        year=2020,
        venue="NeurIPS 33",
        identifier="arXiv:2006.06438",
        equations="its TP baseline",
    )

    @property
    def search_space(self) -> SearchSpace:
        """Wider than others': the published 1e-5 and 1000 are for a hundred thousand steps."""
        return {"optimizer.lr": Around(2.0), "ortho": Around(1.0)}

    @property
    def optimizer(self) -> OptimizerSpec:
        """The authors' (run.py)."""
        return OptimizerSpec(name="adam", lr=1e-5, betas=(0.9, 0.99))
