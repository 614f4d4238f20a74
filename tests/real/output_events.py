"""Events and positions for tests of outputs: the same numbers always make the same events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from energy_core import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Detail, Gap, Kind, Quantity, SourceId, State, Status

START = datetime(2026, 11, 1, tzinfo=UTC)
SITE = SourceId("vrm", "home", "1001", 0)
BATTERY = SourceId("vrm", "home", "1001", 261)
ACCOUNT = SourceId("vrm", "home", "*", 0)
POWERS = (Quantity.GRID_POWER, Quantity.BATTERY_POWER, Quantity.PV_POWER, Quantity.BATTERY_SOC)


def reading(
    number: int,
    source: SourceId = SITE,
    values: Mapping[Quantity, float] | None = None,
    *,
    time: datetime | None = None,
    revision: int = 0,
    id: str | None = None,  # noqa: A002
) -> Event:
    """Return reading `number` of a source: one a second from `START` on."""
    at = START + timedelta(seconds=number) if time is None else time
    return Event(
        source=source,
        kind=Kind.READING,
        key=f"{source}/reading",
        time=at,
        received_at=at + timedelta(seconds=1),
        seq=number + 1,
        id=f"{source.site}/{source.instance}/{int(at.timestamp())}" if id is None else id,
        values={each: float(number) for each in POWERS} if values is None else values,
        revision=revision,
    )


def control(number: int, detail: Detail, source: SourceId = SITE, *, time: datetime | None = None) -> Event:
    """Return a status, gap or alarm event of a source."""
    at = START + timedelta(seconds=number) if time is None else time
    kind, name = {
        Status: (Kind.STATUS, f"status:{number + 1}"),
        Gap: (Kind.GAP, f"gap:{number + 1}"),
        AlarmChange: (Kind.ALARM, f"{getattr(detail, 'alarm', '')}/{number}"),
    }[type(detail)]
    return Event(source, kind, f"{source}/{kind}", at, at, number + 1, name, detail=detail)


def gap(number: int, source: SourceId = SITE) -> Event:
    """Return a gap of the ten seconds before `number`."""
    end = START + timedelta(seconds=number)
    detail = Gap(
        start=end - timedelta(seconds=10),
        end=end,
        reason="not_recorded",
        quantities=(Quantity.PV_POWER, Quantity.GRID_POWER),
    )
    return control(number, detail, source)


def status(number: int, state: State, source: SourceId = SITE) -> Event:
    """Return a change of a source's state."""
    return control(number, Status(state=state, reason="in a test"), source)


def position(number: int, source: SourceId = SITE) -> Checkpoint:
    """Return the position behind `number` readings of a source."""
    at = StreamPosition(time=START + timedelta(seconds=number), seq=number, ids=(f"id-{number}",))
    return Checkpoint({source: {source: at}})


def number_at(checkpoint: Checkpoint, source: SourceId = SITE) -> int:
    """Return the number that `position` was called with; 0 for an empty one."""
    return checkpoint.positions[source][source].seq if checkpoint.positions else 0


def batch_at(number: int, size: int) -> Sequence[Event]:
    """Return readings from `number` on, and after every 50th a status and a gap."""
    events: list[Event] = []
    for each in range(number, number + size):
        events.append(reading(each))
        if each % 50 == 49:
            events += [status(each, State.STALE), gap(each)]
    return events
