"""Homes in chosen states, for tests and pictures of the live page: events as a stream delivers them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from energy_core import AlarmChange, Event, Gap, Kind, Quantity, SourceId, State, Status
from energy_core.clock import SystemClock
from energy_core.home import SourceFilter
from energy_live.simulator.household.day_curves import HouseholdConfig
from energy_live.simulator.household.household import Household
from energy_live.web.homes import Home

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 9, 9, 22, tzinfo=UTC)


class FixedClock(SystemClock):
    """A wall clock that stands still until it is moved; waits are real."""

    def __init__(self, now=NOON):
        self.now = now

    def utcnow(self):
        return self.now


class Numbered:
    """Makes events with the numbers a stream gives them."""

    def __init__(self):
        self._seq = {}

    def _next(self, source):
        self._seq[source] = self._seq.get(source, 0) + 1
        return self._seq[source]

    def reading(self, source, time, *, received_at=None, backfilled=False, late=False, **values):
        seq = self._next(source)
        return Event(
            source,
            Kind.READING,
            f"{source}/reading",
            time,
            received_at or time,
            seq,
            f"{source.site}/{time.timestamp():.0f}/{seq}",
            {Quantity(name): float(value) for name, value in values.items()},
            backfilled=backfilled,
            late=late,
        )

    def control(self, source, kind, detail, time, received_at=None):
        seq = self._next(source)
        key = f"{source}/{kind}"
        return Event(source, kind, key, time, received_at or time, seq, f"{kind}:{seq}", detail=detail)

    def status(self, source, state, time, reason="", retry_in=None):
        return self.control(
            source, Kind.STATUS, Status(state=State(state), reason=reason, retry_in=retry_in), time
        )

    def gap(self, source, start, end, reason="not_recorded"):
        return self.control(source, Kind.GAP, Gap(start=start, end=end, reason=reason), end)

    def alarm(self, source, text, time, *, active=True, device=""):
        alarm = f"{source.site}/alarm/{text}"
        detail = AlarmChange(active=active, alarm=alarm, text=text, device=device, started=time)
        return self.control(source, Kind.ALARM, detail, time)


def household(seed, *, pv=6200.0, load=520.0, battery=9600.0):
    """Return a simulated household in Berlin."""
    return Household(
        config=HouseholdConfig(
            name="home",
            seed=seed,
            timezone="Europe/Berlin",
            latitude=52.52,
            longitude=13.4,
            pv_peak_w=pv,
            base_load_w=load,
            battery_wh=battery,
            battery_power_w=3600.0,
        )
    )


def values_of(meters, *, sun=True, battery=True):
    values = {"consumption_power": meters.consumption_w, "grid_power": meters.grid_w}
    if sun:
        values["pv_power"] = meters.pv_w
    if battery:
        values |= {
            "battery_power": meters.battery_w,
            "battery_soc": meters.soc * 100,
            "battery_voltage": meters.voltage_v,
            "battery_temperature": meters.temperature_c,
        }
    else:
        values["grid_power"] = meters.consumption_w - (meters.pv_w if sun else 0.0)
    return values


NAMES = (
    "Berghütte Rotwand",
    "Hof Petersen",
    "Haus Lindenweg",
    "Werkstatt Brandt",
    "Boat Seeschwalbe",
    "Ferienhaus Ostsee",
    "Kita Sonnenhügel",
    "<b>Anna</b> & Söhne",
    "Haus am Deich",
    "Wohnung Kranz",
    "Mühle Altenau",
    "Gartenhaus Lenz",
)


def fleet(count=12, now=NOON) -> tuple[list[Home], list[Event]]:
    """Return homes with a day of readings: one offline, one stale, two alarms, one low, one backfilling."""
    homes, events = [], []
    for number in range(count):
        name = NAMES[number] if number < len(NAMES) else f"Haus {number + 1}"
        site = SourceId("vrm", "me", str(1000 + number))
        homes.append(
            Home(id=f"h{number}", name=name, zone=BERLIN, sources=(SourceFilter("vrm", site=site.site),))
        )
        events += _day(Numbered(), site, number, now)
    return homes, events


def _day(make, site, number, now) -> Iterator[Event]:
    home = household(number + 1, pv=2500 + 700 * (number % 5), load=260 + 70 * (number % 4))
    until = {0: now - timedelta(hours=3, minutes=4), 1: now - timedelta(minutes=22)}.get(number, now)
    until -= timedelta(seconds=2 + 7 * (number % 6))
    sun, battery = number != 9, number != 9
    moment = until - timedelta(hours=24)
    yield make.status(site, "connecting", moment)
    yield make.status(site, "live", moment)
    hole = (now - timedelta(hours=4), now - timedelta(hours=3, minutes=20)) if number in {2, 5} else None
    while moment <= until:
        if hole is None or not hole[0] < moment < hole[1]:
            values = values_of(home.at(moment.timestamp()), sun=sun, battery=battery)
            if number == 4:
                values |= {"battery_soc": 11.0, "battery_power": -420.0}
            yield make.reading(site, moment, **values)
        moment += timedelta(minutes=5)
    yield make.reading(site, until, **values)
    if number == 0:
        yield make.status(site, "disconnected", until + timedelta(minutes=1), "the gateway is offline")
    if number == 1:
        yield make.status(site, "stale", until + timedelta(minutes=5))
    if number == 2:
        yield make.gap(site, *hole)
        yield make.alarm(site, "high grid voltage on L2", now - timedelta(minutes=44), device="MultiPlus")
    if number == 3:
        yield make.alarm(site, "low battery temperature", now - timedelta(minutes=9))
    if number == 5:
        yield make.status(site, "backfilling", now + timedelta(minutes=40))
