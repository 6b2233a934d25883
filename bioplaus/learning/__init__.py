"""The contract of a learning rule, and what surrounds one: options, optimizers, batching, probes.

May import `network` and what is below it: see docs/design.md.
"""
