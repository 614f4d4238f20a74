"""The pages of the documentation site: complete, and with links that work."""

import doctest
import re
from pathlib import Path

import pytest

import energy_core.errors
from tests.docs.public import all_public, public_names

ROOT = Path(__file__).parents[2]


def test_every_error_says_what_to_do():
    """docs/errors.md has a row for each public error, with two filled cells."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.+?) \|$",
        (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(name for name, *_ in rows) == sorted(public_names("energy_core.errors"))
    assert all(isinstance(getattr(energy_core.errors, name), type) for name, *_ in rows)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    """A relative link of a document names a file of the repository."""
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_examples_in_docstrings_are_right():
    """Each `>>>` in a docstring of a public object prints what it says, with the public names imported."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    names = all_public()
    found = [each for value in names.values() for each in finder.find(value, "public", globs=dict(names))]
    for each in found:
        runner.run(each)
    assert runner.tries >= 3
    assert runner.failures == 0
