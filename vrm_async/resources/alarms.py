"""Alarms of a site: the rules, and the alarms they raised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from energy_core.checks import boolean, finite, whole
from energy_core.clock import Clock
from energy_core.codec.coerce import integer
from energy_core.codec.json import JSON
from energy_core.errors import AnswerError
from energy_core.http.client import ApiClient
from energy_core.http.pages import Pages
from energy_core.local_days import time_range
from vrm_async import validation
from vrm_async.decoding import alarms
from vrm_async.decoding.php import items
from vrm_async.models.alarm import Alarm, Alarms, RaisedAlarm
from vrm_async.models.site import Site
from vrm_async.operations import SITE, reads, writes
from vrm_async.resources.users import SITES, Users, no_such_site, sites_query
from vrm_async.responses import done, part

RULES: Final = reads("alarms.rules", f"{SITE}/alarms")
ADD: Final = writes("alarms.add", "POST", f"{SITE}/alarms")
UPDATE: Final = writes("alarms.update", "PUT", f"{SITE}/alarms")
DELETE: Final = writes("alarms.delete", "DELETE", f"{SITE}/alarms")
CLEAR: Final = writes("alarms.clear", "POST", f"{SITE}/clear-alarm")
LOG: Final = reads("alarms.log", f"{SITE}/alarm-log")

_NOTHING: Final[Mapping[str, JSON]] = {}


LOG_RANGE: Final = timedelta(days=365)
"""How far `log` reaches back by default: alarms are rare, and an active one may be old."""


class AlarmsResource:
    """The alarms of a site: active ones, those of the past, and the rules; `client.alarms`."""

    def __init__(
        self, api: ApiClient, users: Users, resolve_range: validation.ResolveRange, *, clock: Clock
    ) -> None:
        self._api = api
        self._users = users
        self._resolve_range = resolve_range
        self._clock = clock

    def active(self, site: Site | int) -> Pages[RaisedAlarm]:
        """List the alarms of a site that are active now: ``await`` it, or use ``async for``.

        The list of sites says how many there are and describes them. Only if there are any, the alarm log of
        the last year is requested for device, start and id. Where the account has no access to the log, or
        the log lacks an alarm, these are None. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/installations

        Raises:
            NotFound: the account's list of sites does not have the site.
        """
        site_id = validation.site_id(site)

        async def read() -> tuple[RaisedAlarm, ...]:
            listed = await self._listed(site_id)
            if listed.number == 0:
                return ()
            try:
                logged: tuple[RaisedAlarm, ...] = await self.log(site_id)
            except AnswerError:
                if listed.number is None:
                    raise
                logged = ()
            return alarms.active_alarms(listed, logged)

        return Pages.of_one_answer(read, of=RaisedAlarm)

    async def _listed(self, site_id: int) -> alarms.ListedAlarms:
        def read(payload: JSON) -> alarms.ListedAlarms:
            for record in items(part(payload, "records")):
                if isinstance(record, Mapping) and integer(record.get("idSite")) == site_id:
                    return alarms.ListedAlarms.of(record)
            raise no_such_site(site_id)

        query = sites_query(extended=True, site_id=site_id)
        return await self._api.call(SITES, read, query=query, idUser=await self._users.id())

    async def rules(self, site: Site | int) -> Alarms:
        """Return the rules, with the devices, users and attributes for new ones. Cancelling is safe.

        `active` returns the alarms that are active.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/get

        Raises:
            PermissionDenied: the account has no full access to the site.
        """
        return await self._api.call(RULES, alarms.alarms, idSite=validation.site_id(site))

    async def add(self, site: Site | int, alarm: Alarm, *, raw: Mapping[str, JSON] = _NOTHING) -> None:
        """Add a rule. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/post

        Args:
            site: The site or its id.
            alarm: Thresholds of a number, or `enum_values` of an enum.
            raw: Further members of the body, sent as they are.
        """
        await self._api.call(ADD, done, json=_body(alarm, raw), idSite=validation.site_id(site))

    async def update(self, site: Site | int, alarm: Alarm, *, raw: Mapping[str, JSON] = _NOTHING) -> None:
        """Replace the rule on the same attribute and device instance. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/put
        """
        await self._api.call(UPDATE, done, json=_body(alarm, raw), idSite=validation.site_id(site))

    async def delete(self, site: Site | int, attribute_id: int, instance: int = 0) -> None:
        """Delete the rule on an attribute of a device instance. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/delete
        """
        body: dict[str, JSON] = {
            "idDataAttribute": whole("attribute_id", attribute_id),
            "instance": whole("instance", instance),
        }
        await self._api.call(DELETE, done, json=body, idSite=validation.site_id(site))

    async def clear(self, site: Site | int, alarm_id: int) -> None:
        """Clear a raised alarm. VRM's event log names the account as its author. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/clear-alarm
        """
        body: dict[str, JSON] = {"alarmId": whole("alarm_id", alarm_id)}
        await self._api.call(CLEAR, done, json=body, idSite=validation.site_id(site))

    def log(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
    ) -> Pages[RaisedAlarm]:
        """List the alarms that were raised in a range: ``await`` it, or use ``async for``.

        Experimental: VRM's own pages request it, no document names it. Without any range it is the last 365
        days.

        Args:
            site: The site or its id.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``. By
                default 365 days before `end`.
            end: An aware datetime after `start`; by default now.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(30, "days")``, instead of `start` and `end`.
        """
        site_id = validation.site_id(site)
        given_range = time_range(start, end, period=period, last=last, required=False)

        async def read() -> tuple[RaisedAlarm, ...]:
            begin, until = await self._resolve_range(site, given_range)
            if begin is None:
                begin = (until or self._clock.utcnow()) - LOG_RANGE
            query = validation.range_query(begin, until)
            return await self._api.call(LOG, alarms.log, query=query, idSite=site_id)

        return Pages.of_one_answer(read, of=RaisedAlarm)


def _body(alarm: Alarm, raw: Mapping[str, JSON]) -> dict[str, JSON]:
    if not isinstance(alarm, Alarm):
        raise TypeError(f"alarm must be an Alarm, not {type(alarm).__name__}")
    whole("attribute_id", alarm.attribute_id)
    whole("instance", alarm.instance)
    whole("notify_after_s", alarm.notify_after_s or 0)
    if alarm.enabled is not None:
        boolean("enabled", alarm.enabled)
    thresholds = {name: getattr(alarm, name) for name in ("high", "high_hysteresis", "low", "low_hysteresis")}
    given = {name: value for name, value in thresholds.items() if value is not None}
    for name, value in given.items():
        finite(name, value)
    for number in alarm.enum_values:
        whole("enum_values", number)
    if alarm.on_states and given:
        raise ValueError(f"a rule on enum_values has no thresholds, and was given {', '.join(given)}")
    return {**alarms.body(alarm), **raw}
