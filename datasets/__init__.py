"""The built-in data sets, one per file, found through the entry points `bioplaus.datasets`."""
