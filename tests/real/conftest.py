"""Tests with real servers and a real browser: `nox -s real`. `tests/servers/real_programs.py` starts them."""

from tests.real.postgresql import postgresql

__all__ = ["postgresql"]
