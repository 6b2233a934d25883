"""The command line: arguments in, text out, no logic. Nothing heavy is imported here.

May import everything of the core: see docs/design.md.
"""

from bioplaus.cli.commands import main

__all__ = ["main"]
