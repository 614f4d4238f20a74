"""Polling as a source: one list of sites, many readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from vrm_async import validation
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
from vrm_async.resources.users import INSTALLATIONS, Users, installations_query
from vrm_async.responses import part

FRESH_S: Final = 15 * 60
"""Attributes logged longer before the site's newest log are leftovers, of replaced hardware often."""

SYSTEM: Final = 6
"""VRM's idDeviceType of the system, which speaks for a site as a whole."""

BATTERY: Final = 0
"""The number of `tst` that makes `tsT` a battery's temperature; other sensors hang in fridges and rooms."""

FIRST_S: Final = 946_684_800
"""Values before 2000 have no time: VRM is younger."""
LAST_S: Final = 2**32
"""A later time is none: gateways count seconds in 32 bits, and dates near the year 9999 overflow."""

_RELEVANT: Final = frozenset({*SINGLE, *SUMS, *BATTERY_SENSORS})
"""Codes that mean a quantity, without the parts of sums."""

WHAT_TO_DO: Final = "check the number, and that the account may still see the site"


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
) -> Poller:
    """Return the source of these sites, or of all sites of the account when there are none.

    Every interval it asks once for the list of sites with its newest values, which needs no full access. A
    reading is one moment of one device instance of one site; the others' moments are not mixed in. The past
    of a device comes from a graph of what its readings consist of.
    """
    wanted = {validation.whole("site_id", site_id) for site_id in site_ids}
    sites = _Sites(api, users, wanted, account)
    name = ",".join(map(str, sorted(wanted))) or "*"

    async def label() -> str:
        return str(await users.id())

    return Poller(
        SourceId("vrm", users.label if account is None else account, name),
        sites.ask,
        interval_s=interval_s,
        identify=label,
        owner=owner,
        fetch_range=sites.recall,
        lookback=lookback or LookbackConfig(),
        clock=clock,
        vendor_clock=api.account.vendor_clock,
    )


class _Sites:
    """Asks for the list of sites with their newest values."""

    def __init__(self, api: ApiClient, users: Users, wanted: set[int], account: str | None) -> None:
        self.recall = GraphLookback(api)
        self._api = api
        self._users = users
        self._wanted = wanted
        self._account = account
        self._whole_list = len(wanted) != 1

    async def ask(self) -> Polled:
        """Return the newest readings, and when each site has logged.

        Raises:
            DecodeError: the list is empty or cannot be read, which may be one bad answer.
            NotFound: the list has sites and none of those that are wanted.
        """
        user = await self._users.id()
        account = str(user) if self._account is None else self._account
        only = None if self._whole_list else next(iter(self._wanted))
        query = installations_query(extended=True, site_id=only)
        found = await self._api.call(INSTALLATIONS, partial(self._read, account), query=query, idUser=user)
        gone = bool(self._wanted) and all(seen.problem for seen in found.sites.values())
        # Only a list with other sites says that a site is gone: after an empty one, all sites are asked for.
        self._whole_list = len(self._wanted) != 1 or gone
        if not found.count:
            raise DecodeError("the account's list of sites is empty", kind="shape")
        if gone:
            named = ", ".join(map(str, sorted(self._wanted)))
            raise NotFound(f"the account's list of sites does not have {named}; {WHAT_TO_DO}")
        for reading in found.readings:
            self.recall.learn(*reading)
        observations = [each.observation for each in found.readings]
        return Polled(readings=observations, sites=found.sites, notes=found.odd)

    def _read(self, account: str, payload: JSON) -> Listed:
        now = self._api.account.vendor_clock.now()  # as of this very answer
        latest_s = float("inf") if now is None else now.timestamp() + AHEAD_S
        return listed(payload, wanted=self._wanted, account=account, latest_s=latest_s)


class Read(NamedTuple):
    """A reading, and what its past is asked by."""

    observation: PolledReading
    made_of: MadeOf
    attributes: Mapping[str, int]
    """VRM's ids of the attributes, by code."""


@frozen
class Listed:
    """The contents of a list of sites."""

    count: int
    """Sites in it, wanted or not."""
    sites: Mapping[SourceId, SiteReport]
    """The wanted sites, in the list or not."""
    readings: list[Read]
    odd: Mapping[str, int]
    """What is not as documented, counted."""


def listed(payload: JSON, wanted: set[int], account: str, *, latest_s: float = float("inf")) -> Listed:
    """Read the sites' newest moments; `wanted` empty means all. What cannot be read is counted as drift.

    Args:
        payload: The list of sites.
        wanted: Ids of sites.
        account: Its label.
        latest_s: No site has logged later than this, unix seconds, whatever it says.
    """
    drift = current_drift()
    before = {} if drift is None else drift.counts
    count, sites, readings = _listed(payload, wanted, account, latest_s)
    after = {} if drift is None else drift.counts
    new = {key: times - before.get(key, 0) for key, times in after.items()}
    odd = {f"{model} {name}: {problem}": times for (model, name, problem), times in new.items() if times}
    return Listed(count, sites, readings, odd)


def _listed(
    payload: JSON, wanted: set[int], account: str, latest_s: float
) -> tuple[int, dict[SourceId, SiteReport], list[Read]]:
    records: dict[int, list[Mapping[str, object]]] = {}
    for record in items(part(payload, "records")):
        site_id = integer(record.get("idSite")) if isinstance(record, Mapping) else None
        if site_id is None or site_id < 0 or not isinstance(record, Mapping):
            report("Site", "record", "malformed")
        else:
            records.setdefault(site_id, []).append(record)
    sites: dict[SourceId, SiteReport] = {}
    readings: list[Read] = []
    for site_id in (each for each in records if not wanted or each in wanted):
        source = SourceId("vrm", account, str(site_id))
        newest_s, found = _of_site(source, records[site_id], latest_s)
        sites[source] = SiteReport(None if newest_s is None else moment(newest_s * 1000))
        readings += found
    for site_id in sorted(wanted - records.keys()):
        trouble = f"the account's list of sites does not have {site_id}; {WHAT_TO_DO}"
        sites[SourceId("vrm", account, str(site_id))] = SiteReport(None, trouble)
    return len(records), sites, readings


def _of_site(
    site: SourceId, records: Sequence[Mapping[str, object]], latest_s: float
) -> tuple[int | None, list[Read]]:
    """Return when a site has logged last, and its readings. A site that is listed twice is one site."""
    told = [
        (item, record.get("last_timestamp")) for record in records for item in items(record.get("extended"))
    ]
    entries = [entry for item, last in told for entry in _entries(item, last)]
    newest = _newest(records, entries, latest_s)
    if newest is None and not entries:
        return None, []
    since = (newest or 0) - FRESH_S
    devices: dict[int, dict[str, list[Entry]]] = {}
    for entry in entries:
        devices.setdefault(entry.instance, {}).setdefault(entry.code, []).append(entry)
    chosen = {
        instance: {code: _chosen(_in_time(rivals, latest_s), since) for code, rivals in codes.items()}
        for instance, codes in devices.items()
    }
    sums = site_sums(
        {code: entry for device in chosen.values() for code, entry in device.items() if code in SUMS}
    )
    relevant = _RELEVANT.union(*(parts.codes for parts in sums.values()))
    return newest, [
        read for device in chosen.values() for read in _of_device(site, device, sums, relevant, since)
    ]


def _newest(records: Sequence[Mapping[str, object]], entries: Sequence[Entry], latest_s: float) -> int | None:
    """Return when a site logged last: as it says, or where that time has not come, as its values say."""
    stamps = [stamp for record in records if (stamp := _seconds(record.get("last_timestamp"))) is not None]
    told = [stamp for stamp in stamps if stamp <= latest_s]
    if len(told) < len(stamps):
        report("Site", "last_timestamp", "from_the_future")
    found = told or [entry.stamp for entry in entries if entry.stamp is not None and entry.stamp <= latest_s]
    return max(found, default=None)


def _in_time(rivals: list[Entry], latest_s: float) -> list[Entry]:
    """Leave out what is dated after its time, where there is anything else."""
    return [entry for entry in rivals if entry.stamp is None or entry.stamp <= latest_s] or rivals


def _of_device(
    site: SourceId,
    device: Mapping[str, Entry],
    sums: Mapping[str, Parts],
    relevant: frozenset[str],
    since: int,
) -> Iterator[Read]:
    moments: dict[int, dict[str, Entry]] = {}
    for code, entry in device.items():
        if entry.stamp is not None and entry.stamp >= since:
            moments.setdefault(entry.stamp, {})[code] = entry
    fresh = {code: entry for moment in moments.values() for code, entry in moment.items()}
    temperature = _temperature(fresh, device.get("tst"))
    for stamp, group in moments.items():
        if relevant.isdisjoint(group):
            continue
        found = measured(group, device, sums, temperature=temperature)
        instance = next(iter(group.values())).instance
        if found:
            observation = PolledReading(
                source=site._replace(instance=instance),
                time=moment(stamp * 1000),
                id=f"{site.site}/{instance}/{stamp}",
                values={quantity: each.value for quantity, each in found.items()},
                raw={code: entry.item for code, entry in group.items()},
            )
            made_of = {quantity: each.codes for quantity, each in found.items()}
            yield Read(observation, made_of, attributes(group))


def _entries(item: object, last: object) -> Iterator[Entry]:
    """Give the values of an attribute, one an instance. A time of null is unknown, one left out is `last`."""
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
    """Return the one of several devices with one instance number that speaks for it, whatever their order.

    A value comes before none, a fresh one before a leftover. Then the system's own value comes first, then
    that of the device type with the lowest number. Two devices of one type cannot be told apart: the later
    value counts, of one second the lower.
    """
    if len(rivals) == 1:
        return rivals[0]
    best, *others = sorted(rivals, key=lambda entry: _rank(entry, since))
    there = [entry for entry in others if number(entry.value) is not None and _is_fresh(entry, since)]
    if there:
        report("Attribute", best.code, "several devices of one instance")
    return best._replace(contested=any(entry.kind == best.kind for entry in there))


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
    """Return the code that gives the battery's temperature: of one device where several have the instance."""
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
    if milliseconds and milliseconds < FIRST_S * 1000:  # of a device that does not know the time
        report("Attribute", "timestamp", "before 2000")
        return None
    return milliseconds // 1000 if milliseconds else None  # 0 is never
