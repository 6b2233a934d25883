"""The built-in learning rules, one file each; found through the entry points."""
