"""Command line, demo, archive and simulator, built on the two vendor clients.

This module imports nothing, so that `energy-live --help` starts fast.
"""
