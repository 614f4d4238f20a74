"""The alarms of polled sites: which changed, and their details from the alarm log.

The list of sites, which is polled anyway, has the number of active alarms of each site. Only when that, or a
description, has changed is the site's log requested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AnswerError, RequestError
from energy_core.http.client import ApiClient
from energy_core.http.operation import Priority
from energy_core.stream.source import ReportedAlarm, StreamPosition
from energy_core.stream.vocabulary import SourceId
from vrm_async import validation
from vrm_async.decoding import alarms
from vrm_async.decoding.alarms import ListedAlarms
from vrm_async.models.alarm import RaisedAlarm
from vrm_async.resources.alarms import LOG, LOG_RANGE

MAX_LOGS: Final = 30
"""Logs requested after one poll, so that the next one is not late when many sites have a new alarm: ten
seconds at VRM's rate limit. The others are requested after the next poll."""

NOT_DESCRIBED: Final = "an alarm that VRM does not describe"
"""The text of an alarm that VRM counts, and neither describes nor logs."""


class AlarmReports:
    """Requests the alarm logs of sites whose alarms have changed.

    Args:
        api: Sends the requests.
        clock: Source of time.
    """

    def __init__(self, api: ApiClient, clock: Clock | None = None) -> None:
        self._api = api
        self._clock = clock or SystemClock()
        self._reported: dict[SourceId, ListedAlarms] = {}
        self._resumed: set[SourceId] = set()

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Request the logs of these sites by the next poll: alarms may have been raised and cleared since."""
        self._resumed = {source._replace(instance=0) for source in positions}
        self._reported.clear()

    async def changed(
        self, listed: Mapping[SourceId, ListedAlarms]
    ) -> dict[SourceId, Sequence[ReportedAlarm]]:
        """Return all alarms of those sites whose alarms have changed since the last poll.

        A site whose log got no answer is left out, and requested by the next poll again.

        Args:
            listed: The alarms of each polled site.
        """
        found: dict[SourceId, Sequence[ReportedAlarm]] = {}
        requests = 0
        for site, each in listed.items():
            before = self._reported.get(site)
            if each.number is None or each == before:
                continue
            logged: Sequence[RaisedAlarm] | None = ()
            if each.number or before is not None or site in self._resumed:
                if requests == MAX_LOGS:
                    continue
                requests += 1
                logged = await self._log(int(site.site))
            if logged is not None:
                self._reported[site] = each
                self._resumed.discard(site)
                found[site] = reported(each, logged)
        return found

    async def _log(self, site_id: int) -> Sequence[RaisedAlarm] | None:
        """Return the log of the last year; empty if VRM refuses it, None if there was no answer."""
        now = self._api.account.vendor_clock.now() or self._clock.utcnow()
        query = validation.range_query(now - LOG_RANGE, now + timedelta(minutes=1))
        try:
            return await self._api.call(
                LOG, alarms.log, query=query, idSite=site_id, priority=Priority.BACKGROUND
            )
        except AnswerError:
            return ()  # such as an account without full access: the descriptions have to do
        except RequestError:
            return None


def reported(listed: ListedAlarms, logged: Sequence[RaisedAlarm]) -> list[ReportedAlarm]:
    """Return the active alarms of a site, and the cleared ones of its log."""
    cleared = [each for each in logged if not each.active and each.id is not None]
    return [
        ReportedAlarm(
            text=each.description or each.name_enum or NOT_DESCRIBED,
            id="" if each.id is None else str(each.id),
            device=each.device or "",
            instance=each.instance,
            started=each.started,
            cleared=each.cleared,
        )
        for each in (*cleared, *alarms.active_alarms(listed, logged))
    ]
