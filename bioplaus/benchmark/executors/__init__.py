"""Executors: places where jobs run, one a module, found through `bioplaus.executors`."""
