"""Benchmarks against other libraries: `python -m benchmarks`, or one of its modules alone."""
