"""Arithmetic below networks: random streams, linear algebra, convolutions, with vmap rules.

May import `system` and what is below it: see docs/design.md.
"""
