"""Plugins by name: entry points of installed packages, and rules from files.

May import `learning` and what is below it: see docs/design.md.
"""
