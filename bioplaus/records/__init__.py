"""Records, the facts of a benchmark: their schema, where they are kept, how they travel.

May import `tasks` and what is below it: see docs/design.md.
"""
