"""Histories of states: the changes of enum attributes of one device instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from energy_core.printable import printable
from energy_core.tables.column import TableColumn
from energy_core.tables.table import Table
from vrm_async.models.attribute import Raw
from vrm_async.models.series import moment

Change: TypeAlias = tuple[datetime, int | None]
"""Aware begin of a state (UTC) and the number of the state."""


@frozen(kw_only=True, repr=False)
class StateSet(Table):
    """The changes of one enum attribute, as columns of equal length in order of time.

    Iterating yields ``(aware datetime, number)``; `enum` and `names` have the names of the numbers.
    """

    code: str
    """The attribute's code; its id as text where VRM does not send the code."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    times_ms: Sequence[int] = ()
    """Begin of each state in milliseconds since the epoch, UTC."""
    ends_ms: Sequence[int | None] = ()
    """End of each state in milliseconds since the epoch, UTC; None where VRM does not send it. Between the
    end of a state and the begin of the next one, no state is known."""
    numbers: Sequence[int | None] = ()
    """Number of each state; None where VRM sent only a name that is not in `enum`."""
    names: Sequence[str | None] = ()
    """Name of each state by its number; the text in the account's language where there is no number."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of the numbers."""

    def __len__(self) -> int:
        return len(self.times_ms)

    def __iter__(self) -> Iterator[Change]:
        return zip(map(moment, self.times_ms), self.numbers, strict=True)

    def _table_columns(self) -> Iterator[TableColumn]:
        return _columns([self])

    @printable
    def __repr__(self) -> str:
        return f"<StateSet {self.code}: {len(self)} changes>"


@frozen(kw_only=True, repr=False)
class StateSeries(Table):
    """The changes of state of one device instance; iterating yields `StateSet`, indexing takes a code.

    As a table it has one row for each change, ordered by code: code, start, end, number and name.
    """

    name: str
    """The widget's name, such as VeBusState."""
    instance: int | None = None
    """The requested device instance; None if the choice was left to VRM."""
    states: tuple[StateSet, ...] = ()
    """One set for each attribute."""
    raw: Raw = field(factory=dict)
    """The records of the answer as VRM sent them."""

    def __iter__(self) -> Iterator[StateSet]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, code: str | int) -> StateSet:
        for states in self.states:
            if code in (states.code, states.attribute_id):
                return states
        raise KeyError(
            f"no states of {code!r}; there are: {', '.join(s.code for s in self.states) or 'none'}"
        )

    def _table_columns(self) -> Iterator[TableColumn]:
        return _columns(self.states)

    @printable
    def __repr__(self) -> str:
        states = ", ".join(map(repr, self.states)) or "no data"
        return f"<StateSeries {self.name} of instance {self.instance}: {states}>"


def _columns(sets: Sequence[StateSet]) -> Iterator[TableColumn]:
    """Yield the columns of a table with one row for each change, one set after the other."""
    yield TableColumn("code", "text", [each.code for each in sets for _ in each.times_ms])
    yield TableColumn("start", "time", [time for each in sets for time in each.times_ms])
    ends = [each.ends_ms or [None] * len(each) for each in sets]
    yield TableColumn("end", "time", [time for column in ends for time in column])
    yield TableColumn("number", "int", [number for each in sets for number in each.numbers])
    yield TableColumn("name", "text", [name for each in sets for name in each.names])
