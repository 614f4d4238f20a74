"""The code in docs/home.md runs as printed."""

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "home.md"


def test_every_snippet_prints_what_stands_below_it():
    """The document's sessions run as printed."""
    results = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")
    assert results.failed == 0
    assert results.attempted > 30
