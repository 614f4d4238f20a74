"""The source behind `VRMClient.live`: it polls the list of sites with their newest values.

One request an interval returns the newest value of every attribute of every site. A reading is the values
that one device instance of one site logged in one second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.clock import AHEAD_S, Clock
from energy_core.codec.coerce import integer, number
from energy_core.codec.drift import current_drift, report
from energy_core.codec.json import JSON
from energy_core.errors import DecodeError, NotFound
from energy_core.http.client import ApiClient
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, Polled, PolledReading, SiteReport
from energy_core.stream.vocabulary import Quantity, SourceId
from energy_core.token_expiry import TokenExpiry
from vrm_async.alarm_reports import AlarmReports
from vrm_async.decoding.alarms import ListedAlarms
from vrm_async.decoding.gateways import Gateway, gateway
from vrm_async.decoding.php import by_number, items
from vrm_async.decoding.points import time_ms
from vrm_async.lookback import GraphLookback
from vrm_async.models.series import moment
from vrm_async.quantities import (
    BATTERY_SENSORS,
    SENSOR,
    SINGLE,
    SUMS,
    Entry,
    MadeOf,
    Parts,
    attributes,
    measured,
    site_sums,
    value_of,
)
from vrm_async.resources.users import SITES, Users, sites_query
from vrm_async.responses import part

FRESH_S: Final = 15 * 60
"""Maximum age of a value in s, before the site's newest log. Older ones are often of replaced hardware."""

SYSTEM: Final = 6
"""VRM's idDeviceType of the system, whose values are those of the whole site."""

BATTERY: Final = 0
"""The value of `tst` for which `tsT` is a battery's temperature; other sensors measure fridges and rooms."""

FIRST_S: Final = 946_684_800
"""The year 2000, Unix time: values with an earlier time come from a device whose clock is not set."""
LAST_S: Final = 2**32
"""The year 2106, Unix time: gateways count 32-bit seconds, so later times are invalid."""

_CODES: Final = frozenset({*SINGLE, *SUMS, *BATTERY_SENSORS})
"""Codes of quantities, without the codes of the parts of sums."""

HINT: Final = "check the number, and that the account may still see the site"


def live(
    api: ApiClient,
    users: Users,
    site_ids: tuple[int, ...],
    *,
    account: str | None,
    interval_s: float,
    lookback: LookbackConfig | None = None,
    clock: Clock | None = None,
    owner: str = "",
    expiry: TokenExpiry | None = None,
    on_gateways: Callable[[Mapping[SourceId, Gateway], GraphLookback], None] | None = None,
) -> Poller:
    """Return a source of readings of these sites, or of all sites of the account if there are none.

    Monitoring access is enough. Values of different seconds are never mixed into one reading. Missing
    readings of a device are fetched from its graph, as `lookback` says. Alarms are reported; their device and
    times need full access to the site.

    Args:
        api: Sends the requests.
        users: The account.
        site_ids: VRM's idSite of each site.
        account: The label of the account in events; by default its user id, which is fetched.
        interval_s: Seconds between polls.
        lookback: When and how far to look back.
        clock: Source of time.
        owner: Distinguishes credentials under one account label.
        expiry: Warns before the token expires; None: it is not checked.
        on_gateways: Called at each poll, before its readings are delivered, with the gateways of the sites
            and with what fetches the past of their devices.
    """
    wanted = set(site_ids)
    sites = _Sites(api, users, wanted, account, clock=clock, on_gateways=on_gateways)
    name = ",".join(map(str, sorted(wanted))) or "*"

    async def label() -> str:
        return str(await users.id())

    return Poller(
        SourceId("vrm", users.label if account is None else account, name),
        sites.poll,
        interval_s=interval_s,
        identify=label,
        owner=owner,
        fetch_range=sites.lookback,
        lookback=lookback or LookbackConfig(),
        clock=clock,
        vendor_clock=api.account.vendor_clock,
        on_resume=sites.alarms.resume,
        expiry=expiry,
    )


class _Sites:
    """Requests the list of sites with their newest values."""

    def __init__(
        self,
        api: ApiClient,
        users: Users,
        wanted: set[int],
        account: str | None,
        *,
        clock: Clock | None,
        on_gateways: Callable[[Mapping[SourceId, Gateway], GraphLookback], None] | None = None,
    ) -> None:
        self._on_gateways = on_gateways
        self.alarms = AlarmReports(api, clock)
        self.lookback = GraphLookback(api)
        self._api = api
        self._users = users
        self._wanted = wanted
        self._account = account
        self._whole_list = len(wanted) != 1

    async def poll(self) -> Polled:
        """Return the newest readings, and the time of each site's newest log.

        Raises:
            DecodeError: the list is empty or unreadable, which may be one bad answer.
            NotFound: the list has other sites, and none of the wanted ones.
        """
        user = await self._users.id()
        account = str(user) if self._account is None else self._account
        only = None if self._whole_list else next(iter(self._wanted))
        query = sites_query(extended=True, site_id=only)
        found = await self._api.call(SITES, partial(self._read, account), query=query, idUser=user)
        gone = bool(self._wanted) and all(site.problem for site in found.sites.values())
        # An empty list does not prove that a site is gone; a list with other sites does. So the next poll
        # requests all sites.
        self._whole_list = len(self._wanted) != 1 or gone
        if not found.count:
            raise DecodeError("the account's list of sites is empty", kind="shape")
        if gone:
            named = ", ".join(map(str, sorted(self._wanted)))
            raise NotFound(f"the account's list of sites does not have {named}; {HINT}")
        for each in found.readings:  # a look-back requests the codes that the device logs now
            self.lookback.learn(*each)
        if self._on_gateways is not None:
            self._on_gateways(found.gateways, self.lookback)
        readings = [each.reading for each in found.readings]
        read_alarms = partial(self.alarms.changed, found.alarms)
        return Polled(readings=readings, sites=found.sites, notes=found.notes, read_alarms=read_alarms)

    def _read(self, account: str, payload: JSON) -> SiteList:
        now = self._api.account.vendor_clock.now()  # from the headers of this answer
        latest_s = float("inf") if now is None else now.timestamp() + AHEAD_S
        return read_sites(payload, wanted=self._wanted, account=account, latest_s=latest_s)


class SiteReading(NamedTuple):
    """A reading, with the codes and attributes that its look-back requests."""

    reading: PolledReading
    made_of: MadeOf
    attributes: Mapping[str, int]
    """VRM's idDataAttribute by code."""


@frozen
class SiteList:
    """The contents of a list of sites."""

    count: int
    """Number of sites in the list, wanted or not."""
    sites: Mapping[SourceId, SiteReport]
    """All wanted sites, including those that are not in the list."""
    readings: list[SiteReading]
    alarms: Mapping[SourceId, ListedAlarms]
    """The active alarms of each wanted site in the list."""
    gateways: Mapping[SourceId, Gateway]
    """Of each wanted site in the list."""
    notes: Mapping[str, int]
    """Deviations from VRM's documents, counted."""


def read_sites(payload: JSON, wanted: set[int], account: str, *, latest_s: float = float("inf")) -> SiteList:
    """Read the newest values of sites. Unreadable parts are counted as drift and left out.

    Args:
        payload: The list of sites.
        wanted: Ids of sites; empty for all.
        account: The label of the account.
        latest_s: Unix time in s; later times of logs are ignored.
    """
    drift = current_drift()
    before = {} if drift is None else drift.counts
    count, sites, readings, alarms, gateways = _read_sites(payload, wanted, account, latest_s)
    after = {} if drift is None else drift.counts
    new = {key: times - before.get(key, 0) for key, times in after.items()}
    notes = {f"{model} {name}: {problem}": times for (model, name, problem), times in new.items() if times}
    return SiteList(count, sites, readings, alarms, gateways, notes)


def _read_sites(
    payload: JSON, wanted: set[int], account: str, latest_s: float
) -> tuple[
    int,
    dict[SourceId, SiteReport],
    list[SiteReading],
    dict[SourceId, ListedAlarms],
    dict[SourceId, Gateway],
]:
    records: dict[int, list[Mapping[str, object]]] = {}
    for record in items(part(payload, "records")):
        site_id = integer(record.get("idSite")) if isinstance(record, Mapping) else None
        if site_id is None or site_id < 0 or not isinstance(record, Mapping):
            report("Site", "record", "malformed")
        else:
            records.setdefault(site_id, []).append(record)
    sites: dict[SourceId, SiteReport] = {}
    readings: list[SiteReading] = []
    alarms: dict[SourceId, ListedAlarms] = {}
    gateways: dict[SourceId, Gateway] = {}
    for site_id in (each for each in records if not wanted or each in wanted):
        source = SourceId("vrm", account, str(site_id))
        newest_s, found = _of_site(source, records[site_id], latest_s)
        sites[source] = SiteReport(None if newest_s is None else moment(newest_s * 1000))
        readings += found
        alarms[source] = ListedAlarms.of(records[site_id][0])
        gateways[source] = gateway(records[site_id][0])
    for site_id in sorted(wanted - records.keys()):
        problem = f"the account's list of sites does not have {site_id}; {HINT}"
        sites[SourceId("vrm", account, str(site_id))] = SiteReport(None, problem)
    return len(records), sites, readings, alarms, gateways


def _of_site(
    site: SourceId, records: Sequence[Mapping[str, object]], latest_s: float
) -> tuple[int | None, list[SiteReading]]:
    """Return the time of a site's newest log, and its readings. All records of one site are read together."""
    entries = [
        entry
        for record in records
        for item in items(record.get("extended"))
        for entry in _entries(item, record.get("last_timestamp"))
    ]
    newest = _newest(records, entries, latest_s)
    if newest is None and not entries:
        return None, []
    # Relative to the site's newest log, not to now: a site without a network keeps its last values.
    since = (newest or 0) - FRESH_S
    devices: dict[int, dict[str, list[Entry]]] = {}
    for entry in entries:
        devices.setdefault(entry.instance, {}).setdefault(entry.code, []).append(entry)
    chosen = {
        instance: {code: _chosen(_not_in_future(rivals, latest_s), since) for code, rivals in by_code.items()}
        for instance, by_code in devices.items()
    }
    sums = site_sums(
        {code: entry for device in chosen.values() for code, entry in device.items() if code in SUMS}
    )
    codes = _CODES.union(*(parts.codes for parts in sums.values()))
    return newest, [
        each for device in chosen.values() for each in _of_device(site, device, sums, codes, since)
    ]


def _newest(records: Sequence[Mapping[str, object]], entries: Sequence[Entry], latest_s: float) -> int | None:
    """Return the time of a site's newest log: last_timestamp, or if that is in the future, of its values."""
    stamps = [stamp for record in records if (stamp := _seconds(record.get("last_timestamp"))) is not None]
    past = [stamp for stamp in stamps if stamp <= latest_s]
    if len(past) < len(stamps):
        report("Site", "last_timestamp", "from_the_future")
    found = past or [entry.stamp for entry in entries if entry.stamp is not None and entry.stamp <= latest_s]
    return max(found, default=None)


def _not_in_future(rivals: list[Entry], latest_s: float) -> list[Entry]:
    """Return the entries that are not dated in the future, or all if there is no other."""
    return [entry for entry in rivals if entry.stamp is None or entry.stamp <= latest_s] or rivals


def _of_device(
    site: SourceId,
    device: Mapping[str, Entry],
    sums: Mapping[str, Parts],
    codes: frozenset[str],
    since: int,
) -> Iterator[SiteReading]:
    moments: dict[int, dict[str, Entry]] = {}
    for code, entry in device.items():
        if entry.stamp is not None and entry.stamp >= since:
            moments.setdefault(entry.stamp, {})[code] = entry
    fresh = {code: entry for moment in moments.values() for code, entry in moment.items()}
    temperature = _temperature(fresh, device.get("tst"))
    # Devices of one instance log at different seconds; values of different seconds are different readings.
    for stamp, group in moments.items():
        if codes.isdisjoint(group):
            continue
        found = measured(group, device, sums, temperature=temperature)
        instance = next(iter(group.values())).instance
        if found:
            reading = PolledReading(
                source=site._replace(instance=instance),
                time=moment(stamp * 1000),
                id=f"{site.site}/{instance}/{stamp}",
                values={quantity: each.value for quantity, each in found.items()},
                raw={code: entry.item for code, entry in group.items()},
            )
            made_of = {quantity: each.codes for quantity, each in found.items()}
            yield SiteReading(reading, made_of, attributes(group))


def _entries(item: object, last: object) -> Iterator[Entry]:
    """Yield the value of an attribute at each instance.

    A time of null is unknown. Without a time, the value was logged at `last`, the site's newest log.
    """
    code = item.get("code") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(code, str):
        report("Attribute", "record", "malformed")
        return
    kind, attribute = integer(item.get("idDeviceType")), integer(item.get("idDataAttribute"))
    pattern, owner = item.get("formatWithUnit"), item.get("instance")
    instances = by_number(item.get("instances"))
    if not instances:
        instance = 0 if owner is None else integer(owner)
        if instance is None:
            report("Attribute", "instance", "not a number")
            return
        instances = {instance: item}
    for instance, value in instances.items():
        if isinstance(value, Mapping):
            stamp = _seconds(value.get("timestamp", last))
            yield Entry(code, instance, stamp, value.get("rawValue"), pattern, kind, attribute, value)
        else:
            report("Attribute", "instances", "malformed")


def _chosen(rivals: Sequence[Entry], since: int) -> Entry:
    """Return the entry to use if several devices share an instance number; their order does not matter.

    An entry with a value is preferred to one without, a fresh one to an older one, then the one of the
    system, then the one of the device type with the lowest number. Two devices of one type cannot be
    distinguished: the later value is used, of the same second the lower one.
    """
    if len(rivals) == 1:
        return rivals[0]
    # A total order, so that the order of the list does not matter.
    best, *others = sorted(rivals, key=lambda entry: _rank(entry, since))
    usable = [entry for entry in others if number(entry.value) is not None and _is_fresh(entry, since)]
    if usable:
        report("Attribute", best.code, "several devices of one instance")
    return best._replace(contested=any(entry.kind == best.kind for entry in usable))


def _rank(entry: Entry, since: int) -> tuple[bool, bool, bool, float, float, int, float]:
    value = number(entry.value)
    return (
        value is None,
        not _is_fresh(entry, since),
        entry.kind != SYSTEM,
        float("inf") if entry.kind is None else entry.kind,
        float("inf") if entry.attribute is None else entry.attribute,
        -(entry.stamp or 0),
        0.0 if value is None else value,
    )


def _is_fresh(entry: Entry, since: int) -> bool:
    return entry.stamp is not None and entry.stamp >= since


def _temperature(fresh: Mapping[str, Entry], kind_of_sensor: Entry | None) -> str | None:
    """Return the code of the battery's temperature, the first that has a value; one of several devices."""
    for code in BATTERY_SENSORS:
        if code == SENSOR and (kind_of_sensor is None or integer(kind_of_sensor.value) != BATTERY):
            continue
        if value_of(Quantity.BATTERY_TEMPERATURE, fresh.get(code)) is not None:
            return code
    return None


def _seconds(value: object) -> int | None:
    milliseconds = time_ms(value)
    if milliseconds is not None and milliseconds > LAST_S * 1000:
        report("Attribute", "timestamp", "after 2106")
        return None
    if milliseconds and milliseconds < FIRST_S * 1000:
        report("Attribute", "timestamp", "before 2000")
        return None
    return milliseconds // 1000 if milliseconds else None  # 0 means never
