"""`relay(url)`: reads another program's relay as a source, to merge its events and serve them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, Self, cast
from urllib.parse import urlencode

from attrs import define, field

from energy_core.clock import Clock, SystemClock
from energy_core.errors import DecodeError
from energy_core.printable import printable
from energy_core.secret import Secret
from energy_core.stream.endpoint import Endpoint, RefusalText
from energy_core.stream.event import Event
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.socket import ReconnectingSocket
from energy_core.stream.source import Outlet, ReportedAlarm, StreamPosition
from energy_core.stream.vocabulary import (
    AlarmChange,
    Dropped,
    Gap,
    Quantity,
    SourceId,
    State,
    Status,
    account_label,
)
from energy_core.url import BaseUrl, parse_base_url

MEMORY: Final = "relay_memory"
"""Reason of a gap: the relay no longer had the events when we came back, or was itself started anew."""

_MAX_DEVICES: Final = 20_000
_DOWN: Final = frozenset({State.AUTH_FAILED, State.FAILED, State.CLOSED})


def relay(
    url: str,
    *,
    token: str | None = None,
    account: str | None = None,
    sources: Collection[str] = (),
    quantities: Collection[Quantity] = (),
    raw: bool = True,
    clock: Clock | None = None,
    socket: SocketConfig | None = None,
) -> RelaySource:
    """Return a source that reads the relay of another program, `energy-live serve` or `run --web`.

    Its events keep their source ids, times and ids. What the relay no longer has when the connection is back,
    and what this side was too slow for, is reported as gaps with the reason ``relay_memory``. States of the
    relay's sources are states of sites here; alarms are raised and cleared as there.

    Args:
        url: Address of the relay's page; https, or http on the loopback interface.
        token: The relay's token, where it needs one.
        account: Label of this source; by default the relay's host and port.
        sources: Only these, such as ``vrm/*/151734`` or ``voltstorage``; empty: all.
        quantities: Only these; empty: all.
        raw: Whether readings have the vendor's record.
        clock: Source of time, for tests.
        socket: Timeouts and delays of the connection.

    Raises:
        ValueError: The address, the label or a source is not valid. The message does not contain the address.
    """
    base = parse_base_url(url if url.endswith("/") else f"{url}/", scheme="https", name="the relay's address")
    wanted = tuple(sources)
    if any("," in each or each.count("/") > 3 or not each for each in wanted):
        raise ValueError("sources must be ids such as vrm/*/151734")
    label = account_label(account) or base.origin.partition("://")[2]
    return RelaySource(
        _Address(base=base, token=None if token is None else Secret(token)),
        _Wanted(sources=wanted, quantities=tuple(map(Quantity, quantities)), raw=raw),
        label=label,
        clock=clock or SystemClock(),
        config=socket or SocketConfig(),
    )


@define(frozen=True, kw_only=True)
class _Address:
    base: BaseUrl
    token: Secret | None


@define(frozen=True, kw_only=True)
class _Wanted:
    sources: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    raw: bool

    def query(self) -> list[tuple[str, str]]:
        chosen = [("sources", ",".join(self.sources)), ("quantities", ",".join(self.quantities))]
        return [*((name, text) for name, text in chosen if text), ("raw", "yes" if self.raw else "no")]


@define
class _Device:
    """What was delivered of one device."""

    time: datetime | None = None
    """Time of the newest reading."""
    ids: frozenset[str] = frozenset()
    """After a resume: ids of the readings of exactly this time."""
    resumed: bool = False
    """Whether replayed readings up to `time` were consumed in an earlier run."""
    suspect_since: datetime | None = None
    """Events may be missing from here to the next reading that is not late."""
    alarms: dict[str, ReportedAlarm] = field(factory=dict)


class RelaySource:
    """A source that reads a relay; made by `relay`."""

    def __init__(
        self, address: _Address, wanted: _Wanted, *, label: str, clock: Clock, config: SocketConfig
    ) -> None:
        self.id = SourceId("relay", label, "*")
        self.malformed = 0
        """Lines that are no events, or of a newer version; they are left out."""
        self._address = address
        self._wanted = wanted
        self._clock = clock
        self._config = config
        self._devices: dict[SourceId, _Device] = {}
        self._cursor: str | None = None
        self._boot: str | None = None
        self._continues = False
        self._since: datetime | None = None
        self._outlet: Outlet | None = None

    @property
    def notes(self) -> Mapping[str, int | str]:
        """What was left out."""
        return {"malformed": self.malformed} if self.malformed else {}

    def again(self) -> Self:
        """Return a new source with the same arguments."""
        return type(self)(
            self._address, self._wanted, label=self.id.account, clock=self._clock, config=self._config
        )

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Continue where a consumer stopped: the relay is asked for everything since then."""
        for source, position in positions.items():
            if source == self.id:
                continue
            self._devices[source] = _Device(
                time=position.time, ids=frozenset(position.ids), resumed=True, suspect_since=position.time
            )
        times = [position.time for source, position in positions.items() if source != self.id]
        self._since = min(times, default=None)

    async def run(self, outlet: Outlet) -> None:
        """Deliver the relay's events until cancelled. Cancelling is safe: the connection is closed.

        Raises:
            AuthError: The relay refuses the token.
            RequestError: The relay refuses the request for good, or its certificate is not valid.
        """
        self._outlet = outlet
        socket = ReconnectingSocket(
            self,
            on_messages=self._on_messages,
            on_state=lambda state, reason, retry_in: outlet.status(state, reason=reason, retry_in=retry_in),
            config=self._config,
            clock=self._clock,
        )
        try:
            await socket.run()
        finally:
            self._report_suspects()

    # --- the connection: what `ReconnectingSocket` needs ---------------------------------------------------

    @property
    def renewable(self) -> bool:
        """A token is fixed."""
        return False

    def refusal_text(self, body: bytes) -> RefusalText:
        """Return the relay's line, without the token."""
        text = body[:300].decode(errors="replace").strip()
        token = self._address.token
        if token is not None:
            text = text.replace(token.reveal(), "***")
        page = text.startswith("<")
        return RefusalText("" if page else "".join(each for each in text if each.isprintable()), page=page)

    async def admit(self) -> None:
        """A relay has no rate limit worth waiting for."""

    def hold(self, seconds: float) -> None:
        """Nothing else is asked of the relay, so nothing else waits."""

    async def address(self) -> Endpoint:
        """Return the address with the position to continue from."""
        since = self._cursor or (None if self._since is None else self._since.isoformat())
        query = [*self._wanted.query(), *([("since", since)] if since else [])]
        url = "ws" + self._address.base.join("events").removeprefix("http")
        token = self._address.token
        headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
        return Endpoint(url=f"{url}?{urlencode(query)}", headers=headers)

    async def renew(self, generation: int) -> None:
        """A fixed token cannot be renewed."""

    # --- messages ------------------------------------------------------------------------------------------

    def _on_messages(self, messages: list[bytes]) -> int:
        count = 0
        for message in messages:
            for line in message.split(b"\n"):
                count += self._on_line(line)
        return count

    def _on_line(self, line: bytes) -> int:
        """Deliver one line; return 1 if it proves that the relay is alive."""
        try:
            members = json.loads(line)
            if not isinstance(members, dict):
                raise TypeError  # noqa: TRY301
            cursor = members.get("cursor")
            if members.get("kind") == "relay":
                self._on_relay(members)
            else:
                event = Event.from_json(line)
                self._on_event(event, members)
        except (ValueError, TypeError, KeyError, RecursionError, DecodeError):
            self.malformed += 1
            return 0
        if isinstance(cursor, str) and len(cursor) < 100:
            self._cursor = cursor
        return 1

    def _on_relay(self, members: Mapping[str, object]) -> None:
        """Note the beginning of a connection, or a sign of life."""
        if "resumed" not in members:
            return
        boot = str(members.get("boot"))
        if self._boot is None:
            if members["resumed"] is True:  # from the times of a checkpoint
                for device in self._devices.values():
                    device.suspect_since = None
        elif boot != self._boot:
            for device in self._devices.values():
                device.suspect_since = device.suspect_since or device.time
        self._boot = boot
        self._continues = members.get("continues") is True
        alarms, states = members.get("alarms"), members.get("states")
        self._take_all_alarms(alarms if isinstance(alarms, list) else [])
        for each in states if isinstance(states, list) else []:
            event = Event.from_json(json.dumps(each))
            if isinstance(event.detail, Status):
                self._on_status(cast("Outlet", self._outlet), event.source, event.detail)

    def _on_event(self, event: Event, members: Mapping[str, object]) -> None:
        if event.source not in self._devices and len(self._devices) >= _MAX_DEVICES:
            raise ValueError("too many devices")
        device = self._devices.setdefault(event.source, _Device())
        outlet = self._outlet
        assert outlet is not None  # noqa: S101  (set by `run`, which calls this)
        match event.detail:
            case None:
                self._on_reading(outlet, event, device)
            case Gap(start=start, end=end, reason=reason, quantities=quantities):
                outlet.gap(event.source, start=start, end=end, reason=reason, quantities=quantities)
            case Dropped():
                start, end = _span_of(members, device.time or event.time, event.time)
                outlet.gap(event.source, start=start, end=end, reason=MEMORY)
            case AlarmChange() as change:
                self._change_alarm(event.source, device, change)
                outlet.alarms(event.source, tuple(device.alarms.values()))
            case Status() as status:
                self._on_status(outlet, event.source, status)

    def _on_reading(self, outlet: Outlet, event: Event, device: _Device) -> None:
        source, last = event.source, device.time
        live = not event.backfilled and not event.late
        replayed = last is not None and (event.time < last or (event.time == last and event.id in device.ids))
        if device.resumed and live and replayed:
            return  # consumed in an earlier run
        since = device.suspect_since
        # A relay that continues from a checkpoint delivers what it missed, backfilled and in order.
        follows = live or (self._continues and not event.late)
        if since is not None and event.time > since and follows:
            device.suspect_since = None
            outlet.gap(source, start=since, end=event.time, reason=MEMORY)
        if last is None or event.time > last:
            device.time, device.resumed = event.time, False
        outlet.reading(
            source,
            time=event.time,
            id=event.id,
            values=event.values,
            raw=event.raw,
            backfilled=event.backfilled,
            revision=event.revision,
        )

    def _on_status(self, outlet: Outlet, source: SourceId, status: Status) -> None:
        """Report the state of one of the relay's sources as that of a site."""
        state = State.DISCONNECTED if status.state in _DOWN else status.state
        if state is State.CONNECTING or source == self.id:
            return
        try:
            outlet.status(state, reason=status.reason, retry_in=status.retry_in, about=source)
        except ValueError:
            # A change that is not legal here, because states between were not delivered.
            outlet.status(State.LIVE, about=source)
            outlet.status(state, reason=status.reason, about=source)

    # --- alarms and gaps -----------------------------------------------------------------------------------

    def _take_all_alarms(self, members: list[object]) -> None:
        """Replace all alarms by those that are active at the relay now."""
        active: dict[SourceId, dict[str, ReportedAlarm]] = {
            source: {} for source, device in self._devices.items() if device.alarms
        }
        for each in members:
            event = Event.from_json(json.dumps(each))
            if isinstance(event.detail, AlarmChange):
                active.setdefault(event.source, {})[event.detail.alarm] = _reported(
                    event.source, event.detail
                )
        for source, alarms in active.items():
            device = self._devices.setdefault(source, _Device())
            device.alarms = alarms
            cast("Outlet", self._outlet).alarms(source, tuple(alarms.values()))

    def _change_alarm(self, source: SourceId, device: _Device, change: AlarmChange) -> None:
        if change.active:
            device.alarms[change.alarm] = _reported(source, change)
        else:
            device.alarms.pop(change.alarm, None)

    def _report_suspects(self) -> None:
        """Report what may be missing until now, before the source ends."""
        now, outlet = self._clock.utcnow(), self._outlet
        for source, device in self._devices.items():
            since = device.suspect_since
            if since is not None and outlet is not None and now > since:
                outlet.gap(source, start=since, end=now, reason=MEMORY)

    @printable
    def __repr__(self) -> str:
        return f"<RelaySource {self.id}, {len(self._devices)} devices>"


def _reported(source: SourceId, change: AlarmChange) -> ReportedAlarm:
    prefix = f"{source.site}/alarm/"
    return ReportedAlarm(
        text=change.text,
        id=change.alarm.removeprefix(prefix),
        device=change.device,
        instance=change.instance,
        started=change.started,
    )


def _span_of(members: Mapping[str, object], start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the times of the events that were dropped; a relay writes them beside their numbers."""
    detail = members["detail"]
    read: Callable[[str], object] = detail.get if isinstance(detail, dict) else {}.get
    try:
        start, end = (datetime.fromisoformat(str(read(name))) for name in ("from", "to"))
    except ValueError:
        start = min(start, end)
    if start.tzinfo is None or end.tzinfo is None or end < start:
        raise ValueError("not a range")
    return start, end
