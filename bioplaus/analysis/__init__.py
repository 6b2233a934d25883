"""What records say: statistics, boards, pairs of rules. The contract of a report.

May import the records alone: see docs/design.md.
"""
