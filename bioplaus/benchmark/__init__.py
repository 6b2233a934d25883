"""Suites of experiments: planned, tuned alike, and worked off by executors.

May import `running` and what is below it: see docs/design.md.
"""
