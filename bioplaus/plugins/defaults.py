"""The one place of the core that names a rule."""

RULE = "gaitprop"
"""What `backward`, `Learner` and `alignment` use where none is named."""
