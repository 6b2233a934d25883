"""The training of many seeds at once: steps as programs, groups that fit, checkpoints.

May import `experiments` and what is below it: see docs/design.md.
"""
