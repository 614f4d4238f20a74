"""Speed, measured beside everyone else: `python -m benchmarks`, or one of its modules alone."""
