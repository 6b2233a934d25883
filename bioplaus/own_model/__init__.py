"""Learning rules on one's own `torch.nn` model: `backward`, `Learner`, `alignment`.

May import `plugins` and what is below it: see docs/design.md.
"""
