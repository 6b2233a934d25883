"""An experiment: one rule, configured, on one task, and the key that names it.

May import `records` and what is below it: see docs/design.md.
"""
