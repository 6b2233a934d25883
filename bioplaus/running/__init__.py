"""From experiments to records: what is missing is trained, in turn with other processes.

May import `training` and what is below it: see docs/design.md.
"""
