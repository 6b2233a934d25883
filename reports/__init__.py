"""Reports: one format per class, each a function of records alone."""
