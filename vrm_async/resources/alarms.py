"""Alarms of a site: the rules, and what they raised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding import alarms
from vrm_async.models.alarm import Alarm, Alarms, RaisedAlarm
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done

GET: Final = reads("alarms.get", f"{SITE}/alarms")
ADD: Final = writes("alarms.add", "POST", f"{SITE}/alarms")
UPDATE: Final = writes("alarms.update", "PUT", f"{SITE}/alarms")
DELETE: Final = writes("alarms.delete", "DELETE", f"{SITE}/alarms")
CLEAR: Final = writes("alarms.clear", "POST", f"{SITE}/clear-alarm")
LOG: Final = reads("alarms.log", f"{SITE}/alarm-log")

_NOTHING: Final[Mapping[str, JSON]] = {}


class AlarmsResource:
    """The rules VRM watches a site by. Needs full access to the site."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site_id: int) -> Alarms:
        """Return the rules, and the devices, users and attributes that new ones are made of.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/get
        """
        return await self._api.call(GET, alarms.alarms, idSite=validation.whole("site_id", site_id))

    async def add(self, site_id: int, alarm: Alarm, *, raw: Mapping[str, JSON] = _NOTHING) -> None:
        """Add a rule.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/post

        Args:
            site_id: The site.
            alarm: Thresholds of a number, or `enum_values` of an enum.
            raw: Further members of the body, sent as they are.
        """
        await self._api.call(ADD, done, json=_body(alarm, raw), idSite=validation.whole("site_id", site_id))

    async def update(self, site_id: int, alarm: Alarm, *, raw: Mapping[str, JSON] = _NOTHING) -> None:
        """Replace the rule on the same attribute and instance.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/put
        """
        await self._api.call(
            UPDATE, done, json=_body(alarm, raw), idSite=validation.whole("site_id", site_id)
        )

    async def delete(self, site_id: int, attribute_id: int, instance: int = 0) -> None:
        """Remove the rule on that attribute of that device instance.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/alarms/delete
        """
        body: dict[str, JSON] = {
            "idDataAttribute": validation.whole("attribute_id", attribute_id),
            "instance": validation.whole("instance", instance),
        }
        await self._api.call(DELETE, done, json=body, idSite=validation.whole("site_id", site_id))

    async def clear(self, site_id: int, alarm_id: int) -> None:
        """Clear an alarm that was raised; the event log says that the account did it.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/clear-alarm
        """
        body: dict[str, JSON] = {"alarmId": validation.whole("alarm_id", alarm_id)}
        await self._api.call(CLEAR, done, json=body, idSite=validation.whole("site_id", site_id))

    async def log(
        self, site_id: int, start: datetime | None = None, end: datetime | None = None
    ) -> tuple[RaisedAlarm, ...]:
        """Return the alarms raised in a range; without one, what VRM chooses.

        Experimental: VRM's own pages ask this, no document names it.
        """
        query = validation.open_span(start, end)
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(LOG, alarms.log, query=query, idSite=site_id)


def _body(alarm: Alarm, raw: Mapping[str, JSON]) -> dict[str, JSON]:
    if not isinstance(alarm, Alarm):
        raise TypeError(f"alarm must be an Alarm, not {type(alarm).__name__}")
    validation.whole("attribute_id", alarm.attribute_id)
    validation.whole("instance", alarm.instance)
    validation.whole("notify_after_s", alarm.notify_after_s or 0)
    if alarm.enabled is not None:
        validation.switch("enabled", alarm.enabled)
    thresholds = {name: getattr(alarm, name) for name in ("high", "high_hysteresis", "low", "low_hysteresis")}
    given = {name: value for name, value in thresholds.items() if value is not None}
    for name, value in given.items():
        validation.finite(name, value)
    for number in alarm.enum_values:
        validation.whole("enum_values", number)
    if alarm.on_states and given:
        raise ValueError(f"a rule on enum_values has no thresholds, and was given {', '.join(given)}")
    return {**alarms.body(alarm), **raw}
