"""Checks of arguments: each returns the value, or names the argument in a TypeError or ValueError."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from energy_core import checks

MOMENT = datetime(2026, 5, 1, tzinfo=UTC)


class Thing:
    def __init__(self, number):
        self.id = number


@pytest.mark.parametrize(
    ("check", "value", "returned"),
    [
        (checks.whole, 0, 0),
        (checks.entity_id, 7, 7),
        (checks.ids, (3, 1), [3, 1]),
        (checks.ids, iter([3]), [3]),
        (checks.finite, 1.5, 1.5),
        (checks.finite, -2, -2),
        (checks.boolean, False, False),
        (checks.string, "", ""),
        (checks.text, " a ", " a "),
        (checks.one_line, "a b", "a b"),
        (checks.aware, MOMENT, MOMENT),
    ],
)
def test_a_right_value_is_returned_unchanged(check, value, returned):
    """Nothing is converted, stripped or rounded."""
    found = check("value", value)
    assert found == returned
    assert type(found) is type(returned)


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (checks.whole, True, TypeError),
        (checks.whole, 1.0, TypeError),
        (checks.whole, "1", TypeError),
        (checks.whole, -1, ValueError),
        (checks.entity_id, None, TypeError),
        (checks.ids, "12", TypeError),
        (checks.ids, 12, TypeError),
        (checks.ids, [], ValueError),
        (checks.ids, [1, True], TypeError),
        (checks.finite, True, TypeError),
        (checks.finite, "1", TypeError),
        (checks.finite, float("nan"), ValueError),
        (checks.finite, float("inf"), ValueError),
        (checks.boolean, 1, TypeError),
        (checks.string, b"a", TypeError),
        (checks.text, "  ", ValueError),
        (checks.text, 3, TypeError),
        (checks.one_line, "a\nb", ValueError),
        (checks.one_line, "a" * 257, ValueError),
        (checks.aware, "2026-05-01", TypeError),
        (checks.aware, MOMENT.replace(tzinfo=None), ValueError),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_argument(check, value, error):
    """TypeError for a wrong type, ValueError for a wrong value."""
    with pytest.raises(error, match=r"^the_name must "):
        check("the_name", value)


def test_bounds_are_in_the_message():
    """Both where there are two, the lower one alone where there is one."""
    assert checks.whole("count", 5, least=1, most=5) == 5
    with pytest.raises(ValueError, match=r"count must be 1\.\.5: 6"):
        checks.whole("count", 6, least=1, most=5)
    with pytest.raises(ValueError, match="count must be at least 1: 0"):
        checks.whole("count", 0, least=1)


def test_an_object_of_the_model_stands_for_its_id():
    """An object of another class does not, whatever attributes it has."""
    assert checks.entity_id("thing", Thing(4), Thing) == 4
    assert checks.entity_id("thing", 4, Thing) == 4
    assert checks.ids("things", [Thing(4), 5], Thing) == [4, 5]
    with pytest.raises(TypeError, match=r"thing must be a Thing or its id \(an int\), not SimpleNamespace"):
        checks.entity_id("thing", SimpleNamespace(id=4), Thing)
    with pytest.raises(TypeError, match=r"thing\.id must be an int"):
        checks.entity_id("thing", Thing("4"), Thing)


def test_a_closed_list_names_its_values():
    """So that the caller can choose one."""
    assert checks.one_of("unit", "days", ("hours", "days")) == "days"
    with pytest.raises(ValueError, match="unit must be one of hours, days, not 'weeks'"):
        checks.one_of("unit", "weeks", ("hours", "days"))
    with pytest.raises(TypeError, match="unit must be a str, not int"):
        checks.one_of("unit", 3, ("hours", "days"))
