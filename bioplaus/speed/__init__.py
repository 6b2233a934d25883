"""How fast training is, beside plain torch and beside what the machine can do.

May import `training` and what is below it: see docs/design.md.
"""
