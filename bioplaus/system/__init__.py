"""The operating system as bioplaus meets it: files, processes, interruptions, devices.

May import the errors alone: see docs/design.md.
"""
