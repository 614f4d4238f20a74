"""Turns bytes into values: strict JSON, tolerant conversion of single values, models, and drift."""
