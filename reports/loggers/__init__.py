"""Loggers: where else runs can be followed, one program per file."""
