"""The conformance kit: what every learning rule must do, for authors of rules.

`check_rule` gives a verdict on one rule, as `bioplaus check` prints it; `RuleConformance`
is the same as a pytest class. `DatasetConformance` and `TaskConformance` do so for data,
`check_layer` for one layer.
"""

from bioplaus.testing.check import Check
from bioplaus.testing.conformance import RuleConformance
from bioplaus.testing.data import DatasetConformance, TaskConformance
from bioplaus.testing.failures import Failure, Skip
from bioplaus.testing.layers import check_layer
from bioplaus.testing.networks import NETWORKS, make_convolutional, make_network
from bioplaus.testing.verdict import CHECKS, Finding, Verdict, check_rule

__all__ = [
    "CHECKS",
    "Check",
    "DatasetConformance",
    "Failure",
    "Finding",
    "NETWORKS",
    "RuleConformance",
    "Skip",
    "TaskConformance",
    "Verdict",
    "check_layer",
    "check_rule",
    "make_convolutional",
    "make_network",
]
