"""The comparison: every method on `shapes` under one budget, its table, its goals. `python -m benchmarks.compare --help`."""
