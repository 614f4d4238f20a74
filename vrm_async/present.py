"""`VRMClient.now`: the present values of sites, from one request for the list of sites."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from energy_core.clock import AHEAD_S, Clock
from energy_core.codec.json import JSON
from energy_core.home.snapshot import present_values
from energy_core.http.client import ApiClient
from energy_core.stream.polled import PolledReading
from energy_core.stream.vocabulary import SourceId
from vrm_async.decoding import sites as decoding
from vrm_async.live import read_sites
from vrm_async.models.snapshot import SiteSnapshot
from vrm_async.resources.users import SITES, Users, no_such_site, sites_query

_HINT: Final = "; check the number, and that the account may still see the site"


async def now(
    api: ApiClient,
    users: Users,
    site_ids: tuple[int, ...],
    *,
    account: str | None,
    max_age_s: float,
    clock: Clock,
) -> tuple[SiteSnapshot, ...]:
    """Request the list of sites and return its newest values; `VRMClient.now` is its public form."""
    user = await users.id()
    wanted = dict.fromkeys(site_ids)  # in the order of the caller, each once
    query = sites_query(extended=True, site_id=site_ids[0] if len(wanted) == 1 else None)

    def read(payload: JSON) -> tuple[SiteSnapshot, ...]:
        # VRM's own time where it is known: a wrong clock of this machine would change every age.
        at = api.account.vendor_clock.now() or clock.utcnow()
        return read_snapshots(payload, account=account or str(user), at=at, max_age_s=max_age_s)

    found = await api.call(SITES, read, query=query, idUser=user)
    if not wanted:
        return found
    by_id = {each.id: each for each in found}
    for site_id in wanted:
        if site_id not in by_id:
            raise no_such_site(site_id, _HINT)
    return tuple(by_id[site_id] for site_id in wanted)


def read_snapshots(
    payload: JSON, *, account: str, at: datetime, max_age_s: float
) -> tuple[SiteSnapshot, ...]:
    """Read the newest values of all sites in a list. Unreadable parts are counted as drift and left out.

    Args:
        payload: The list of sites.
        account: The label of the account.
        at: The time to which ages refer, aware. Values dated after it are ignored.
        max_age_s: Seconds after which data is stale.
    """
    latest_s = at.timestamp() + AHEAD_S
    listed = read_sites(payload, set(), account, latest_s=latest_s)
    readings: dict[SourceId, list[PolledReading]] = {}
    for reading, *_ in listed.readings:
        if reading.time.timestamp() <= latest_s:
            readings.setdefault(reading.source._replace(instance=0), []).append(reading)
    found: dict[int, SiteSnapshot] = {}
    for site in decoding.sites(payload):
        source = SourceId("vrm", account, str(site.id))
        if site.id in found or source not in listed.sites:
            continue  # a site that is listed twice is one site
        newest = listed.sites[source].newest
        age_s = None if newest is None else max(0.0, (at - newest).total_seconds())
        found[site.id] = SiteSnapshot(
            site=site,
            source=source,
            name=site.name,
            time=newest,
            age_s=age_s,
            stale=age_s is None or age_s > max_age_s,
            problem="the site has not logged anything" if newest is None else "",
            present=present_values(readings.get(source, ()), at=at, max_age_s=max_age_s),
        )
    return tuple(found.values())
