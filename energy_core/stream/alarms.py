"""AlarmTracker: which alarms were raised or cleared since the last report. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from energy_core.printable import printable
from energy_core.stream.source import OpenAlarm, ReportedAlarm, StreamPosition
from energy_core.stream.vocabulary import AlarmChange, SourceId


class TimedChange(NamedTuple):
    """A change and its time."""

    time: datetime
    change: AlarmChange


class AlarmTracker:
    """Compares each report of a site with the alarms that were delivered as raised.

    Each alarm is delivered once as raised and once as cleared, also over a restart: the open alarms are part
    of a checkpoint. A vendor without ids of alarms is supported: then equal texts are one alarm.
    """

    def __init__(self) -> None:
        self._open: dict[SourceId, list[OpenAlarm]] = {}
        self._reported_at: dict[SourceId, datetime] = {}

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Continue with the alarms that an earlier run delivered as raised."""
        for source, position in positions.items():
            site = source._replace(instance=0)
            if position.alarms:
                self._open[site] = list(position.alarms)
            # Alarms that were raised and cleared since then were missed by all devices of the site.
            self._reported_at[site] = max(position.time, self._reported_at.get(site, position.time))

    def changes(
        self, source: SourceId, reported: Sequence[ReportedAlarm], now: datetime
    ) -> list[TimedChange]:
        """Return what has changed since the last report of this site, oldest first.

        Args:
            source: The site or product.
            reported: As in `Outlet.alarms`.
            now: The vendor's present time: of changes without a time of their own, or with one after it.
        """
        gone, still = list(self._open.get(source, ())), []
        since = self._reported_at.get(source)
        changes: list[TimedChange] = []
        for each in reported:
            known = _find(gone, each, source)
            if known is not None:
                gone.remove(known)
                if each.cleared is None:
                    still.append(known)
                else:
                    changes.append(_cleared(known, min(each.cleared, now)))
            elif each.cleared is None:
                new = _opened(each, source, now, [*still, *gone])
                still.append(new)
                changes.append(_raised(new, each, now))
            elif each.id and since is not None and each.started is not None and each.started > since:
                new = _opened(each, source, now, still)
                changes += [_raised(new, each, now), _cleared(new, min(each.cleared, now))]
        changes += [_cleared(known, now) for known in gone]
        self._open[source] = still
        self._reported_at[source] = now
        return sorted(changes, key=_time)

    @printable
    def __repr__(self) -> str:
        return f"<AlarmTracker: {sum(map(len, self._open.values()))} open alarms>"


def _find(known: Sequence[OpenAlarm], each: ReportedAlarm, source: SourceId) -> OpenAlarm | None:
    """Return the open alarm that a reported one is: of the same id, or of the same text if one has no id."""
    if each.id:
        wanted = _id(source, each.id)
        same = next((one for one in known if one.id == wanted), None)
        if same is not None or each.cleared is not None:
            return same
        return next((one for one in known if one.text == each.text and _is_made(one, source)), None)
    return next((one for one in known if one.text == each.text), None)


def _opened(each: ReportedAlarm, source: SourceId, now: datetime, others: Sequence[OpenAlarm]) -> OpenAlarm:
    name = each.id or _made(each.text, each.started or now)
    taken, number = {one.id for one in others}, 1
    alarm_id = unique = _id(source, name)
    while unique in taken:  # two alarms of one text and second
        number += 1
        unique = f"{alarm_id}#{number}"
    return OpenAlarm(unique, each.text, each.device, each.instance)


def _id(source: SourceId, name: str) -> str:
    return f"{source.site}/alarm/{name}"


def _made(text: str, time: datetime) -> str:
    """Return an id for an alarm without one: the same text may be raised again later."""
    return f"{text}@{int(time.timestamp())}"


def _is_made(one: OpenAlarm, source: SourceId) -> bool:
    return one.id.startswith(_id(source, f"{one.text}@"))


def _raised(one: OpenAlarm, each: ReportedAlarm, now: datetime) -> TimedChange:
    change = AlarmChange(
        active=True,
        alarm=one.id,
        text=one.text,
        device=one.device,
        instance=one.instance,
        started=each.started,
    )
    return TimedChange(min(each.started or now, now), change)


def _cleared(one: OpenAlarm, time: datetime) -> TimedChange:
    change = AlarmChange(active=False, alarm=one.id, text=one.text, device=one.device, instance=one.instance)
    return TimedChange(time, change)


def _time(timed: TimedChange) -> datetime:
    return timed.time
