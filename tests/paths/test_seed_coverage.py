"""Every name in the table of the vendors' features exists, and each row is unique."""

from __future__ import annotations

import inspect
import re

import attrs
import pytest

import voltstorage_async
import vrm_async
from tests.docs.public import all_public
from tests.paths.snippets import ROOT
from vrm_async.resources.widgets import STATES, SUMMARIES

PAGE = ROOT / "docs" / "reference" / "seed-coverage.md"
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]
NAME = re.compile(r"`(\w+)((?:\.\w+)*)(?:\((\w+)=\))?`")


def names(cell: str) -> list[tuple[str, str, str]]:
    """The names in a cell: the root of each, its path, and the argument."""
    found = NAME.findall(cell)
    assert ", ".join(f"`{root}{path}{f'({given}=)' if given else ''}`" for root, path, given in found) == cell
    return found


@pytest.fixture
def clients():
    """A client of each vendor that sends no request."""
    return {
        "VRMClient": vrm_async.VRMClient(token="0" * 64),
        "VoltStorageClient": voltstorage_async.VoltStorageClient(email="a@example.com", password="x"),
    }


def test_every_capability_has_one_row():
    """The rows are numbered from 1 to 42, and all differ."""
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 43))
    assert len({capability for _, capability, _ in ROWS}) == len(ROWS)
    assert len({served for _, _, served in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_every_name_exists(clients, row):
    """Each name is an attribute of a client, a public class or function, or an argument."""
    *_, cell = row
    for root, path, given in names(cell):
        assert root in all_public(), f"{root} is not public"
        found = all_public()[root]
        parts = path.split(".")[1:]
        if attrs.has(found) and parts and parts[0] in {field.name for field in attrs.fields(found)}:
            continue
        if parts:
            found = clients.get(root, found)
        for part in parts:
            found = getattr(found, part)
        assert inspect.getdoc(found)
        assert not given or given in inspect.signature(found).parameters


def test_every_widget_of_the_texts_is_known():
    """The widgets of changes and of newest values that a row prints are those that the client lists."""
    printed = {number: re.findall(r"`(\w+)`", capability) for number, capability, _ in ROWS}
    assert set(printed["22"]) <= STATES.keys()
    assert set(printed["23"]) <= SUMMARIES.keys()
    assert (len(printed["22"]), len(printed["23"])) == (3, 9)
