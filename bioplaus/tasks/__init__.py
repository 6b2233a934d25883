"""The tasks there are: the built-in ones, one TOML file each, and those that plugins bring.

A plugin's entry point in the group `bioplaus.tasks` names a package that holds NAME.toml.
"""

from bioplaus.tasks.by_name import DEFAULT, description, names, problems, source, table, text

__all__ = ["DEFAULT", "description", "names", "problems", "source", "table", "text"]
