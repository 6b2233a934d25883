"""The one place of the core that names rules."""

RULE = "gaitprop"
"""What `backward`, `Learner` and `alignment` use where none is named."""

REFERENCE = "backprop"
"""What printed commands compare a new rule, dataset or task with."""
