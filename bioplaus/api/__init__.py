"""The library's front door: rules by name, runs, suites and results as data frames.

May import all of the core but the command line: see docs/design.md.
"""

from bioplaus.api.rules import get_rule as get_rule
from bioplaus.api.rules import list_rules as list_rules
