"""docs/voltstorage.md agrees with the code."""

import re

import pytest

from energy_core.stream.dedupe import BEYOND_CAP, NOT_EXPORTED, NOT_RECORDED
from tests.paths.snippets import document
from voltstorage_async import Endpoints, FieldMap
from voltstorage_async.events.gap_fetcher import EXPORT_FAILED, EXPORT_MALFORMED

DOCUMENT = document("docs/voltstorage.md")


@pytest.mark.parametrize("name", ["login", "products", "latest", "statistics", "export", "events"])
def test_every_path_is_in_the_table(name):
    """The table has each default path, with the guesses marked as in the code."""
    path = getattr(Endpoints(), name)
    line = next(line for line in DOCUMENT.splitlines() if line.startswith("|") and f" {path}`" in line)
    assert ("(guess)" in line) == (name in {"latest", "statistics", "events"})


@pytest.mark.parametrize("reason", [EXPORT_FAILED, EXPORT_MALFORMED, NOT_RECORDED, BEYOND_CAP, NOT_EXPORTED])
def test_every_reason_of_a_gap_is_explained(reason):
    """Every reason of a gap is documented."""
    assert re.search(rf"^\| `{reason}[`:]", DOCUMENT, re.MULTILINE)


def test_the_known_event_keys_are_said_to_be_known():
    """Documented and guessed keys agree."""
    certain = [key for key, meaning in FieldMap().events.items() if not meaning.guess]
    assert all(f"`{key}`" in DOCUMENT for key in certain)
