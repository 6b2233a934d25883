"""Networks as data: layers and their algebra, activations, losses, and how TOML spells them.

May import `numerics` and what is below it: see docs/design.md.
"""
