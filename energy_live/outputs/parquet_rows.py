"""The rows of Parquet files: one for each event, one column for each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from energy_core.home.days import micros
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import AlarmChange, Dropped, Gap, Quantity, Status

if TYPE_CHECKING:
    import pyarrow as pa

QUANTITIES: Final = frozenset(each.value for each in Quantity)
DETAILS: Final = ("until", "state", "text", "missing")


def row_schema() -> pa.Schema:
    """Return the columns: of the event, of all quantities with their units, and of its detail."""
    import pyarrow as pa  # noqa: PLC0415  (an extra, and slow to import)

    time, text, flag = pa.timestamp("us", tz="UTC"), pa.string(), pa.bool_()
    source = [("kind", text), ("vendor", text), ("account", text), ("site", text), ("instance", pa.int32())]
    marks = [("id", text), ("revision", pa.int32()), ("backfilled", flag), ("late", flag)]
    values = [pa.field(each.value, pa.float64(), metadata={"unit": each.unit}) for each in Quantity]
    about = [(name, time if name == "until" else text) for name in DETAILS]
    return pa.schema([("time", time), ("received_at", time), *source, *marks, *values, *about])


def row_micros(event: Event) -> int:
    """Return the time of an event's row: a gap's start."""
    return micros(event.detail.start if isinstance(event.detail, Gap) else event.time)


def _detail(event: Event) -> tuple[int | None, str | None, str | None, str | None]:
    """Return the columns `until`, `state`, `text` and `missing` of an event."""
    match event.detail:
        case Gap() as gap:
            return micros(gap.end), None, gap.reason, " ".join(gap.quantities)
        case Status() as status:
            return None, status.state.value, status.reason, None
        case AlarmChange() as alarm:
            return None, "raised" if alarm.active else "cleared", alarm.text, None
        case Dropped() as dropped:
            return None, None, f"{dropped.count} readings, {dropped.first} to {dropped.last}", None
    return None, None, None, None


def record_batch(events: Sequence[tuple[int, Event]], schema: pa.Schema) -> pa.RecordBatch:
    """Return a row for each event.

    Args:
        events: At least one, each with the time of its row, from `row_micros`.
        schema: That of `row_schema`.
    """
    import pyarrow as pa  # noqa: PLC0415  (an extra, and slow to import)

    count = len(events)
    only = [event for _, event in events]
    vendors, accounts, sites, instances = zip(*(event.source for event in only), strict=True)
    columns: dict[str, Any] = {
        "time": [time for time, _ in events],
        "received_at": [micros(event.received_at) for event in only],
        "kind": [event.kind.value for event in only],
        "vendor": vendors,
        "account": accounts,
        "site": sites,
        "instance": instances,
        "id": [event.id for event in only],
        "revision": [event.revision for event in only],
        "backfilled": [event.backfilled for event in only],
        "late": [event.late for event in only],
    }
    for quantity in {quantity for event in only for quantity in event.values}:
        columns[quantity.value] = [event.values.get(quantity) for event in only]
    if any(event.detail is not None for event in only):
        details = [_detail(event) for event in only]
        columns |= dict(zip(DETAILS, zip(*details, strict=True), strict=True))
    arrays = []
    for field in schema:
        if field.name not in columns:
            arrays.append(pa.nulls(count, field.type))
        elif pa.types.is_timestamp(field.type):
            # A tenth of the time that pyarrow needs for aware datetimes.
            arrays.append(pa.array(columns[field.name], pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
