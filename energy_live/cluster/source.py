"""`ClusterSource`: reads the log as a source of `merge`, through a consumer that the server remembers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from attrs import define
from nats.aio.msg import Msg

from energy_core.clock import Clock, SystemClock
from energy_core.errors import DecodeError
from energy_core.printable import printable
from energy_core.stream.event import Event
from energy_core.stream.source import Outlet, Reading, ReportedAlarm, StreamPosition
from energy_core.stream.vocabulary import AlarmChange, Gap, Kind, SourceId, State, Status, account_label
from energy_live.cluster.connection import STREAM, ClusterConnection, names
from energy_live.cluster.log_reader import MOST_UNACKNOWLEDGED, LogReader, LogSelection, accounts_of_log
from energy_live.cluster.login import ServerLogin, servers_of
from energy_live.cluster.problems import ClusterError, raise_if_cancelled
from energy_live.cluster.subjects import read_event, source_of, token

_log: Final = logging.getLogger("energy_live.cluster")

_REMEMBERED: Final = 20_000
"""Readings by whose id a duplicate is recognised."""
_RETRY_S: Final = 1.0

REMOVED: Final = "removed_from_log"
"""Reason of a gap: the log's limits removed events before this consumer had read them."""
UNREADABLE: Final = "unreadable"
"""Reason of a gap: an event of a newer version, or none at all."""

_TERMINAL: Final = frozenset({State.AUTH_FAILED, State.FAILED, State.CLOSED})
_STALE: Final = frozenset({*_TERMINAL, State.STALE, State.DISCONNECTED})


@define(eq=False)
class _Held:
    """A message that was delivered to the consumer and is not acknowledged yet."""

    number: int
    """Its place in the log."""
    reply: str
    device: SourceId
    order: int
    """How many were delivered before it."""
    done: bool = False


class ClusterSource:
    """A source of all that the collectors of a cluster publish; made by `cluster_source`.

    Readings, gaps, alarms and states arrive in the order of the log. Each message is acknowledged once the
    consumer has committed its event, if the stream has a checkpoint, else when it was delivered.

    Args:
        url: Addresses of the servers.
        account: Only this account.
        sites: Only these sites or products.
        name: Name of the durable consumer; None: the server forgets it.
        start: Where to begin, aware.
        login: Who we are; default: from the environment.
        stream: Name of the log.
        clock: The source of time.

    Raises:
        ValueError: An argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        account: str | None = None,
        sites: Sequence[str] = (),
        name: str | None = None,
        start: datetime | None = None,
        login: ServerLogin | None = None,
        stream: str = STREAM,
        clock: Clock | None = None,
    ) -> None:
        servers_of(url)
        if start is not None and start.utcoffset() is None:
            raise ValueError(f"start must be an aware datetime, not {start!r}")
        if name is not None and (not name or token(name) != name):
            raise ValueError(f"the name of a consumer is letters, digits, '_' and '-', not {name!r}")
        self._selection = LogSelection(
            account=account_label(account), sites=tuple(sites), name=name, start=start
        )
        self._url = url
        self._login = login
        self._stream = stream
        self._clock = clock or SystemClock()
        self.id: Final = SourceId("cluster", account or "all", name or "*")
        """Names the source in its status events."""
        self._acks: deque[str] = deque()
        self._reader: LogReader | None = None
        self._follows = False  # whether commits acknowledge, or deliveries
        self._held: dict[object, _Held] = {}
        self._waiting: deque[_Held] = deque()  # acknowledged with the next commit of a later event
        self._by_number: dict[int, _Held] = {}
        self._order = 0
        self._committed: dict[SourceId, int] = {}
        self._seen: OrderedDict[tuple[SourceId, str, int], frozenset[str]] = OrderedDict()
        self._last: dict[SourceId, datetime] = {}
        self._alarms: dict[SourceId, dict[str, ReportedAlarm]] = {}
        self._newest = 0  # place in the log of the last message
        self._notes: Counter[str] = Counter()
        self._warned: set[str] = set()

    # --- the contract of a source --------------------------------------------------------------------------

    @property
    def notes(self) -> Mapping[str, int | str]:
        """Counts of what was left out."""
        return MappingProxyType(dict(self._notes))

    def again(self) -> ClusterSource:
        """Return a new source with the same arguments."""
        return ClusterSource(
            self._url,
            account=self._selection.account,
            sites=self._selection.sites,
            name=self._selection.name,
            start=self._selection.start,
            login=self._login,
            stream=self._stream,
            clock=self._clock,
        )

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Note where the consumer stopped in each device: the server knows what it has not acknowledged."""
        for device, position in positions.items():
            if device == self.id:
                continue
            if position.ids:
                self._last[device] = position.time
            open_alarms = {
                each.id: ReportedAlarm(
                    each.text, each.id.removeprefix(f"{device.site}/alarm/"), each.device, each.instance
                )
                for each in position.alarms
            }
            if open_alarms:
                self._alarms[device] = open_alarms

    def follow_commits(self) -> Callable[[Event], None]:
        """Return `acknowledge`; from now on only that acknowledges events."""
        self._follows = True
        return self.acknowledge

    def acknowledge(self, event: Event) -> None:
        """Note that an event was processed: the server does not send it again."""
        key: object = (event.source, event.id, event.revision)
        if isinstance(event.detail, Gap):
            key = id(event.detail)
        held = self._held.pop(key, None)
        if held is None:
            return
        self._committed[held.device] = max(held.order, self._committed.get(held.device, 0))
        self._ack(held)
        while self._waiting and self._waiting[0].order < held.order:
            self._ack(self._waiting.popleft())

    def acknowledge_batch(self, events: Sequence[Event]) -> None:
        """Note that events were processed, such as by an output that has written them."""
        for event in events:
            self.acknowledge(event)

    async def run(self, outlet: Outlet) -> None:
        """Deliver events until cancelled.

        Raises:
            ClusterError: Only a person can help, such as with a missing permission.
        """
        login = self._login or ServerLogin.from_environment(os.environ)
        while True:
            connection: ClusterConnection | None = None
            try:
                connection = await ClusterConnection.connect(
                    self._url, login=login, name=self.id.site, stream=self._stream
                )
                reader = LogReader(connection, self._selection, self._acks)
                await self._prepare(connection, reader, outlet)
                self._reader = reader
                outlet.status(State.LIVE)
                await reader.read(partial(self._deliver, connection, outlet))
            except asyncio.CancelledError:
                await self._give_back()
                raise
            except ClusterError as error:
                if error.permanent:
                    raise
                outlet.status(State.DISCONNECTED, reason=str(error), retry_in=_RETRY_S)
            finally:
                self._reader = None
                if connection is not None:
                    await connection.aclose()
            raise_if_cancelled()
            await self._clock.sleep(_RETRY_S)

    async def _give_back(self) -> None:
        """Let the server send at once, to the next reader, what was not acknowledged."""
        if self._reader is not None:
            await self._reader.give_back([held.reply for held in self._by_number.values() if not held.done])

    async def _prepare(self, connection: ClusterConnection, reader: LogReader, outlet: Outlet) -> None:
        """Find the consumer, and report what the log has lost before it."""
        first = await reader.open(self._newest)
        if first is not None:
            self._report_removed(outlet, first)
        account = self._selection.account
        if account is not None and account not in (known := await accounts_of_log(connection)):
            found = names(sorted(known)) or "none yet"
            self._warn(f"the log has no events of the account {account!r}; its accounts: {found}")

    def _report_removed(self, outlet: Outlet, end: datetime) -> None:
        """Report what the log's limits removed before it was read: all until its first event was stored."""
        self._warn(
            "the log has removed events before this consumer had read them: raise its max_age or max_bytes"
        )
        self._notes["removed from the log"] += 1
        for device, last in self._last.items():
            if last < end:
                outlet.gap(device, start=last, end=end, reason=REMOVED)

    # --- delivering ----------------------------------------------------------------------------------------

    async def _deliver(self, connection: ClusterConnection, outlet: Outlet, message: Msg) -> None:
        number = message.metadata.sequence.stream
        known = self._by_number.get(number)
        if known is not None:
            self._on_redelivered(known, message.reply)
            return
        self._newest = max(self._newest, number)
        try:
            event = read_event(message.data, message.subject)
        except DecodeError as error:
            self._report_unreadable(message, error, outlet)
            await connection.client.publish(message.reply, b"+TERM")
            return
        self._order += 1
        held = _Held(number, message.reply, event.source, self._order)
        await outlet.room()
        self._by_number[number] = held
        key = self._put(event, outlet)
        if not self._follows or key is None:
            self._ack(held)
        elif key == "":
            self._waiting.append(held)
        else:
            self._held[key] = held

    def _on_redelivered(self, held: _Held, reply: str) -> None:
        """Handle a message that is sent again although it was delivered here."""
        held.reply = reply
        if held.done:
            held.done = False
            self._ack(held)  # the acknowledgement was lost
        elif self._committed.get(held.device, 0) > held.order:
            self._ack(held)  # the consumer's policy has dropped it: it has later ones of the same device

    def _ack(self, held: _Held) -> None:
        if held.done:
            return
        held.done = True
        if self._reader is None:
            self._acks.append(held.reply)  # sent by the next connection
        else:
            self._reader.acknowledge(held.reply)
        while len(self._by_number) > 2 * MOST_UNACKNOWLEDGED:
            self._by_number.pop(next(iter(self._by_number)))

    # --- events --------------------------------------------------------------------------------------------

    def _put(self, event: Event, outlet: Outlet) -> object | None:
        """Deliver an event; return by what its commit is recognised: "" with the next one; None at once."""
        device, detail = event.source, event.detail
        if event.kind is Kind.READING:
            return self._put_reading(event, outlet)
        if isinstance(detail, Gap):
            outlet.put_gap(device, detail)
            return id(detail)
        if isinstance(detail, AlarmChange):
            self._put_alarm(event, detail, outlet)
            return ""
        if isinstance(detail, Status):
            self._put_status(device, detail, outlet)
            return None
        self._notes[f"{event.kind} events"] += 1
        return None

    def _put_reading(self, event: Event, outlet: Outlet) -> object | None:
        key = (event.source, event.id, event.revision)
        before = self._seen.get(key)
        name, values = event.id, event.values
        if before is not None:
            # Stored twice: a failover took longer than the window, or found more of this second.
            values = {each: value for each, value in values.items() if each not in before}
            self._notes["duplicates"] += 1
            if not values:
                return None
            name = f"{name}+{len(before)}"
        self._seen[key] = (before or frozenset()) | frozenset(values)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        reading = Reading(event.time, name, values, event.raw, event.backfilled, event.revision)
        outlet.readings(event.source, (reading,))
        last = self._last.get(event.source)
        if last is None or event.time > last:
            self._last[event.source] = event.time
        return event.source, name, event.revision

    def _put_alarm(self, event: Event, change: AlarmChange, outlet: Outlet) -> None:
        known = self._alarms.setdefault(event.source, {})
        if change.active:
            known[change.alarm] = _reported(event.source, change)
            outlet.alarms(event.source, tuple(known.values()))
            return
        known.pop(change.alarm, None)
        outlet.alarms(
            event.source, (*known.values(), _reported(event.source, change)._replace(cleared=event.time))
        )

    def _put_status(self, device: SourceId, status: Status, outlet: Outlet) -> None:
        state = State.STALE if status.state in _STALE else State.LIVE
        reason = status.reason if status.state is state else f"{status.state}: {status.reason}".rstrip(": ")
        outlet.status(state, reason=reason, about=device._replace(instance=0))

    def _report_unreadable(self, message: Msg, error: DecodeError, outlet: Outlet) -> None:
        version = error.kind == "version"
        self._notes["events of a newer version" if version else "unreadable events"] += 1
        advice = "update energy-live here" if version else "another program publishes on its subjects"
        self._warn(f"the log has events that cannot be read ({error.message}): {advice}")
        device = source_of(message.subject)
        if device is not None:
            at = message.metadata.timestamp.astimezone(UTC)
            start = max(self._last.get(device, at - timedelta(seconds=1)), at - timedelta(hours=1))
            outlet.gap(device, start=min(start, at), end=at, reason=UNREADABLE)

    def _warn(self, text: str) -> None:
        """Log a line once."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)

    @printable
    def __repr__(self) -> str:
        return f"<ClusterSource {self.id} at {self._newest}>"


def _reported(source: SourceId, change: AlarmChange) -> ReportedAlarm:
    # The stream puts site and "alarm" before the id of each alarm, which the collector's has done already.
    name = change.alarm.removeprefix(f"{source.site}/alarm/")
    return ReportedAlarm(change.text, name, change.device, change.instance, change.started)
