"""Polling as a source: one list of sites, many readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from energy_core.clock import Clock
from energy_core.errors import NotFound
from energy_core.http.api import ApiClient
from energy_core.http.drift import note
from energy_core.http.readers import integer
from energy_core.http.request import JSON
from energy_core.stream.event import SourceId
from energy_core.stream.poll import Looking, Observation, Poller
from vrm_async import arguments
from vrm_async.envelope import part
from vrm_async.folding import by_key, by_number
from vrm_async.points import time_ms
from vrm_async.quantities import SUMS, measured
from vrm_async.recall import Recall
from vrm_async.series import moment
from vrm_async.users import INSTALLATIONS, Users, installations_query

FRESH_S: Final = 15 * 60
"""Attributes logged longer before the site's newest log are leftovers, of replaced hardware often."""


def live(
    api: ApiClient,
    users: Users,
    site_ids: tuple[int, ...],
    *,
    account: str | None,
    interval_s: float,
    looking: Looking | None = None,
    clock: Clock | None = None,
    owner: str = "",
) -> Poller:
    """Return the source of these sites, or of all sites of the account when there are none.

    Every interval it asks once for the list of sites with its newest values, which needs no full access. A
    reading is one moment of one device instance of one site; the others' moments are not mixed in. The past
    of a device comes from a graph of what its readings consist of.
    """
    wanted = {arguments.whole("site_id", site_id) for site_id in site_ids}
    only = next(iter(wanted)) if len(wanted) == 1 else None
    query = installations_query(extended=True, site_id=only)

    recall = Recall(api)

    async def label() -> str:
        return str(await users.id())

    async def ask() -> list[Observation]:
        user = await users.id()
        named = str(user) if account is None else account

        def read(payload: JSON) -> list[Observation]:
            return list(observations(payload, wanted, named))

        return recall.learn(await api.call(INSTALLATIONS, read, query=query, idUser=user))

    site = ",".join(map(str, sorted(wanted))) or "*"
    return Poller(
        SourceId("vrm", users.label if account is None else account, site),
        ask,
        interval_s=interval_s,
        identify=label,
        owner=owner,
        look_back=recall,
        looking=looking or Looking(),
        clock=clock,
    )


def observations(payload: JSON, wanted: set[int], account: str) -> Iterator[Observation]:
    """Read the sites' newest moments; `wanted` empty means all.

    Raises:
        NotFound: none of the wanted sites is in the list.
    """
    found = set()
    for record in by_key(part(payload, "records")).values():
        site_id = integer(record.get("idSite")) if isinstance(record, Mapping) else None
        if site_id is None or not isinstance(record, Mapping):
            note("Site", "record", "malformed")
        elif not wanted or site_id in wanted:
            found.add(site_id)
            yield from _of_site(site_id, record, account)
    if wanted and not found:
        raise NotFound(f"the account's list of sites does not have {', '.join(map(str, sorted(wanted)))}")


def _of_site(site_id: int, record: Mapping[str, object], account: str) -> Iterator[Observation]:
    items = [item for item in by_key(record.get("extended")).values() if isinstance(item, Mapping)]
    groups: dict[tuple[int, int], dict[str, Mapping[str, object]]] = {}
    sensor_types: dict[int, object] = {}
    for code, instance, stamp, item in _moments(items, record.get("last_timestamp")):
        groups.setdefault((instance, stamp), {})[code] = item
        if code == "tst":
            sensor_types[instance] = item.get("rawValue")
    newest = _seconds(record.get("last_timestamp")) or max((stamp for _, stamp in groups), default=0)
    parts = _parts(items)
    for (instance, stamp), group in groups.items():
        values = measured(group, parts, sensor_types.get(instance)) if stamp >= newest - FRESH_S else {}
        if values:
            yield Observation(
                source=SourceId("vrm", account, str(site_id), instance),
                time=moment(stamp * 1000),
                id=f"{site_id}/{instance}/{stamp}",
                values=values,
                raw=group,
            )


def _moments(
    items: list[Mapping[str, object]], last: object
) -> Iterator[tuple[str, int, int, Mapping[str, object]]]:
    """Give every value its code, instance and time: null is private, one left out is the site's last."""
    for item in items:
        code = item.get("code")
        if not isinstance(code, str):
            note("Attribute", "record", "malformed")
            continue
        instances = by_number(item.get("instances"))
        for instance, value in (instances or {integer(item.get("instance")) or 0: item}).items():
            stamp = _seconds(value.get("timestamp", last)) if isinstance(value, Mapping) else None
            if stamp is not None and isinstance(value, Mapping):
                yield code, instance, stamp, value


def _parts(items: list[Mapping[str, object]]) -> dict[str, list[str]]:
    """Return what the answer says its sums consist of."""
    told = {
        code: item.get("consistsOfAttributeCodes") for item in items if (code := item.get("code")) in SUMS
    }
    return {
        str(code): [each for each in codes if isinstance(each, str)]
        for code, codes in told.items()
        if isinstance(codes, list)
    }


def _seconds(value: object) -> int | None:
    milliseconds = time_ms(value)
    return None if milliseconds is None else milliseconds // 1000
