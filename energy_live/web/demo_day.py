"""The day before a demo begins, as a recorder stores it: readings, a gap and a backfilled range."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from energy_core import Event, Gap, Kind, Quantity, SourceId
from energy_live.simulator.household.household import Household, MeterValues

_STEP: Final = timedelta(minutes=1)
_GAP: Final = (timedelta(hours=4, minutes=20), timedelta(hours=3, minutes=52))
"""Begin and end of the gap, before the start of the demo."""
_BACKFILL: Final = (timedelta(hours=20, minutes=50), timedelta(hours=19, minutes=5))


def demo_day(home: Household, sources: tuple[SourceId, ...], start: datetime) -> Iterator[Event]:
    """Yield a day of events of a household, one reading a minute of each source, until `start`.

    Args:
        home: The simulated household.
        sources: The sources that measure it.
        start: When the demo begins, aware.
    """
    seq = dict.fromkeys(sources, 0)
    gap_start, gap_end = (start - before for before in _GAP)
    filled_start, filled_end = (start - before for before in _BACKFILL)
    moment = start - timedelta(hours=24)
    while moment < start:
        backfilled = filled_start <= moment < filled_end
        for source in sources:
            if gap_start < moment < gap_end:
                continue
            seq[source] += 1
            yield Event(
                source,
                Kind.READING,
                f"{source}/reading",
                moment,
                filled_end if backfilled else moment,
                seq[source],
                f"{source.site}/{moment:%s}",
                _values(home.at(moment.timestamp())),
                backfilled=backfilled,
            )
        if moment < gap_end <= moment + _STEP:
            yield from _gaps(sources, seq, gap_start, gap_end)
        moment += _STEP


def _gaps(
    sources: tuple[SourceId, ...], seq: dict[SourceId, int], start: datetime, end: datetime
) -> Iterator[Event]:
    for source in sources:
        seq[source] += 1
        name = f"gap:{seq[source]}"
        detail = Gap(start=start, end=end, reason="not_recorded")
        yield Event(source, Kind.GAP, f"{source}/gap", end, end, seq[source], name, detail=detail)


def _values(meters: MeterValues) -> dict[Quantity, float]:
    return {
        Quantity.PV_POWER: meters.pv_w,
        Quantity.CONSUMPTION_POWER: meters.consumption_w,
        Quantity.BATTERY_POWER: meters.battery_w,
        Quantity.GRID_POWER: meters.grid_w,
        Quantity.BATTERY_SOC: meters.soc * 100.0,
        Quantity.BATTERY_VOLTAGE: meters.voltage_v,
        Quantity.BATTERY_CURRENT: meters.current_a,
        Quantity.BATTERY_TEMPERATURE: meters.temperature_c,
    }


def utc(seconds: float) -> datetime:
    """Return Unix seconds as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)
