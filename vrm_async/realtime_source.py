"""The source behind `VRMClient.live(realtime=True)`: real time while it lasts, polling otherwise.

Polling goes on all the time, one request an interval for all sites: it finds the sites and their brokers,
delivers alarms, other devices than the system, and the system's readings while there is no real time. What
is missed between the two is fetched from graphs.
"""

from __future__ import annotations

import asyncio
import random as _random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final, Protocol

from energy_core.clock import Clock, SystemClock, VendorClock
from energy_core.errors import AuthError, NoData, NotFound, PermissionDenied, RequestError, StreamBusy
from energy_core.http.client import ApiClient
from energy_core.local_days import EPOCH
from energy_core.printable import printable
from energy_core.secret import Secret
from energy_core.stream.gap_engine import RangeRequest
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, PolledReading
from energy_core.stream.source import HistoryConfig, HistoryItem, Outlet, StreamPosition
from energy_core.stream.vocabulary import SourceId
from vrm_async.decoding.gateways import Gateway
from vrm_async.lookback import GraphLookback
from vrm_async.realtime_brokers import Broker, address_of
from vrm_async.realtime_link import ConnectGate, Login, OpenLink
from vrm_async.realtime_outlet import PolledOutlet, SiteMode, SiteRecord
from vrm_async.realtime_site import RealtimeConfig
from vrm_async.resources.users import Users

FILLERS: Final = 4
"""Gaps that are filled at the same time."""
FILL_TIMEOUT_S: Final = 60.0
"""Timeout of one request for a graph."""
CLOCK_OFF_S: Final = 2.0
"""VRM's clock is used where ours differs by more: a `Date` header has whole seconds."""

Gateways = Mapping[SourceId, Gateway]
OnGateways = Callable[[Gateways, GraphLookback], None]


class MakePoller(Protocol):
    """Makes a poller of the sites."""

    def __call__(self, *, on_gateways: OnGateways) -> Poller:
        """Return a new poller that passes on what each poll says of the sites' gateways."""


def live(
    make_poller: MakePoller,
    login: BrokerLogin,
    config: RealtimeConfig | None,
    *,
    lookback: LookbackConfig | None,
    clock: Clock,
    where_allowed: bool,
) -> RealtimeSource:
    """Return a source of readings in real time; the arguments are those of `RealtimeSource`.

    Raises:
        ValueError: the configured address is not one of a WebSocket, or without TLS elsewhere than here.
    """
    config = config or RealtimeConfig()
    address_of(Gateway("0", None), config)
    return RealtimeSource(
        make_poller,
        login,
        config,
        lookback=lookback or LookbackConfig(),
        clock=clock,
        where_allowed=where_allowed,
    )


class BrokerLogin:
    """The login of VRM's brokers: the account's e-mail address, and the token that requests use too."""

    def __init__(self, api: ApiClient, users: Users) -> None:
        self._credential = api.account.credential
        self._users = users
        self._email: str | None = None
        self._generation = 0

    @property
    def renewable(self) -> bool:
        """Whether the account logs in, so that a refused token can be replaced."""
        return self._credential.renewable

    async def get(self) -> Login:
        """Return user and password of a broker. Only the first call sends a request. Cancelling is safe.

        Raises:
            EnergyError: VRM refuses the credential, or cannot be reached.
        """
        if self._email is None:
            self._email = (await self._users.me()).email
        if not self._email:
            raise NotFound("VRM does not tell the account's e-mail address, which is the brokers' user name")
        issued = await self._credential.get()
        self._generation = issued.generation
        token = issued.grant.token.reveal()
        if self.renewable:  # the older form, for tokens of a login
            return Login(f"vrmlogin_live_{self._email}", Secret(token))
        return Login(self._email, Secret(f"Token {token}"))

    async def renew(self) -> None:
        """Log in again, because the token was refused. Cancelling is safe."""
        await self._credential.renew(self._generation)


class RealtimeSource:
    """Readings of sites in real time, merged with polling. A source is used once.

    Args:
        make_poller: Makes the poller of the sites.
        login: The login of the brokers.
        config: Times, and the brokers' address.
        lookback: Ranges of the graphs that fill gaps.
        clock: Source of time.
        where_allowed: Whether a site without real time is polled without a word.
        open_link: Makes connections; by default with aiomqtt, which is imported then.
        random: Returns numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        make_poller: MakePoller,
        login: BrokerLogin,
        config: RealtimeConfig,
        *,
        lookback: LookbackConfig,
        clock: Clock | None = None,
        where_allowed: bool = False,
        open_link: OpenLink | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._random = random
        self._open_link = open_link
        self._make_poller = make_poller
        self._poller = make_poller(on_gateways=self._on_gateways)
        self._where_allowed = where_allowed
        self._login = login
        self._config = config
        self._lookback_config = lookback
        self._clock = clock or SystemClock()
        self._graphs: GraphLookback | None = None
        self._records: dict[SourceId, SiteRecord] = {}
        self._brokers: dict[object, tuple[Broker, asyncio.Task[None]]] = {}
        self._outlet: PolledOutlet | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._gate: ConnectGate | None = None
        self._ssl: ssl.SSLContext | None = config.ssl_context
        self._to_fill: asyncio.Queue[SiteRecord] = asyncio.Queue()
        self._offset_s = 0.0  # of VRM's clock from ours, as it is used
        self._used = False

    @property
    def id(self) -> SourceId:
        """Name of the source in its status events; final when `identify` has returned."""
        return self._poller.id

    @property
    def owner(self) -> str:
        """Distinguishes credentials under one account label."""
        return self._poller.owner

    @property
    def vendor_clock(self) -> VendorClock | None:
        """VRM's time, learned from `Date` headers."""
        return self._poller.vendor_clock

    @property
    def notes(self) -> Mapping[str, int | str]:
        """Counts of what polling and real time left out, and gateways whose clock is wrong."""
        notes: dict[str, int | str] = dict(self._poller.notes)
        for record in self._records.values():
            for what, count in record.notes().items():
                known = notes.get(what, 0)
                notes[what] = known + count if isinstance(known, int) else count
            if record.realtime.skewed:
                notes[f"site {record.id.site}"] = record.realtime.skewed
        for broker, _ in self._brokers.values():
            for what, count in (("retained", broker.retained), ("of no known site", broker.strangers)):
                if count:
                    notes[f"messages left out: {what}"] = count
        return notes

    async def identify(self, outlet: Outlet) -> None:
        """Fetch the label of the account, with retries; see `Poller.identify`."""
        await self._poller.identify(outlet)

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Continue where a consumer stopped: what it missed is fetched from graphs."""
        self._poller.resume(positions)

    @property
    def history_config(self) -> HistoryConfig | None:
        """What `history` can prove; see `Poller.history_config`."""
        return self._poller.history_config

    async def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Iterate over the recorded readings of a device, from graphs; of a site's system one a minute.

        Raises:
            RequestError: the request failed.
        """
        record = self._records.get(source)
        if record is None:
            async for each in self._poller.history(source, start, end):
                yield each
            return
        found: list[PolledReading] = []
        for since, until in self._lookback_config.ranges(end, start):
            found += await self._fetched(source, since, until)
        first, last = int(start.timestamp()), int(end.timestamp())
        for item in record.timeline.history(found, first, last, self._unix()):
            yield item

    def again(self) -> RealtimeSource:
        """Return a new source with the same id and arguments."""
        return RealtimeSource(
            self._make_poller,
            self._login,
            self._config,
            lookback=self._lookback_config,
            clock=self._clock,
            where_allowed=self._where_allowed,
            open_link=self._open_link,
            random=self._random,
        )

    async def run(self, outlet: Outlet) -> None:
        """Deliver readings until cancelled.

        Raises:
            StreamBusy: the source was used before.
            RequestError: VRM has refused polls three times in a row.
        """
        if self._used:
            raise StreamBusy("a source is used once; ask the client for another")
        self._used = True
        if self._open_link is None:
            from vrm_async.realtime import MqttLink  # noqa: PLC0415  (aiomqtt is an extra)

            self._open_link = MqttLink
        self._gate = ConnectGate(self._clock)
        self._outlet = PolledOutlet(outlet, self.id, self._records)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for _ in range(FILLERS):
                    tasks.create_task(self._fill_gaps(), name=f"energy gaps of {self.id}")
                await self._poller.run(self._outlet)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            for record in self._records.values():
                record.close()

    # --- sites and brokers ---------------------------------------------------------------------------------

    def _on_gateways(self, gateways: Mapping[SourceId, Gateway], graphs: GraphLookback) -> None:
        """Take what a poll says of the sites: new ones, replaced gateways, rights."""
        self._graphs = graphs
        if self._outlet is None:
            return
        for source, gateway in gateways.items():
            record = self._records.get(source)
            if record is None:
                record = self._records[source] = SiteRecord(
                    source, self._outlet, self._config, self._clock, now=self._now, fill=self._schedule
                )
            if gateway != record.gateway:
                self._move(record, gateway)
        for source in self._records.keys() - gateways.keys():
            if self._records[source].gateway is not None:
                self._move(self._records[source], None)

    def _move(self, record: SiteRecord, gateway: Gateway | None) -> None:
        """Receive a site from another broker, by another portal id, or not at all."""
        self._leave(record)
        if record.mode is SiteMode.REALTIME:
            record.on_lost("the site's gateway or broker has changed", None)
        record.gateway = gateway
        if gateway is None:
            record.on_lost("the account does not see the site any more", None)
        elif gateway.portal_id is None or gateway.obstacle:
            obstacle = gateway.obstacle or "VRM tells no usable identifier of the gateway"
            record.on_lost("" if self._where_allowed else obstacle, None)
        else:
            record.receive(gateway.portal_id, echo=token_hex(4))
            address = address_of(gateway, self._config)
            found = self._brokers.get(address)
            if found is None and self._tasks and self._gate and self._open_link:
                broker = Broker(
                    address,
                    self._login,
                    self._config,
                    open_link=self._open_link,
                    gate=self._gate,
                    clock=self._clock,
                    ssl_context=self._ssl_context,
                    random=self._random,
                )
                task = self._tasks.create_task(broker.run(), name=f"energy broker {address}")
                found = self._brokers[address] = broker, task
            if found is not None:
                record.broker = found[0]
                found[0].add(record)

    def _leave(self, record: SiteRecord) -> None:
        broker, record.broker = record.broker, None
        if broker is None:
            return
        broker.remove(record)
        if not broker.sites:
            _, task = self._brokers.pop(broker.address)
            task.cancel()

    async def _ssl_context(self) -> ssl.SSLContext:
        if self._ssl is None:
            # In a thread: reading the system's authorities takes 50 ms.
            self._ssl = await asyncio.to_thread(ssl.create_default_context)
        return self._ssl

    def _now(self) -> datetime:
        """Return the present time by VRM's clock, by ours where they agree or VRM's is not known."""
        vendor = self._poller.vendor_clock
        offset_s = 0.0 if vendor is None or vendor.offset_s is None else vendor.offset_s
        if abs(offset_s - self._offset_s) > CLOCK_OFF_S:
            # Only then, so that the times of readings do not jump back and forth by fractions of a second.
            self._offset_s = offset_s if abs(offset_s) > CLOCK_OFF_S else 0.0
        return self._clock.utcnow() + timedelta(seconds=self._offset_s)

    # --- gaps ----------------------------------------------------------------------------------------------

    def _schedule(self, record: SiteRecord) -> None:
        """Fill a gap of a site now; called when it is due."""
        self._to_fill.put_nowait(record)

    async def _fill_gaps(self) -> None:
        while True:
            record = await self._to_fill.get()
            while (request := record.timeline.request(self._unix())) is not None:
                await self._fill(record, request)
            await record.deliver()

    async def _fill(self, record: SiteRecord, request: RangeRequest) -> None:
        timeline = record.timeline
        start, end = (EPOCH + timedelta(seconds=second) for second in (request.start, request.end + 1))
        found: list[PolledReading] = []
        try:
            async with asyncio.timeout(FILL_TIMEOUT_S):
                for since, until in self._lookback_config.ranges(end, start):
                    found += await self._fetched(record.id, since, until)
        except (RequestError, TimeoutError) as error:
            final = isinstance(error, AuthError | PermissionDenied | NotFound)
            reason = str(error) or f"the graph took more than {FILL_TIMEOUT_S:g} s"
            timeline.failed(reason, self._unix(), final=final)
        else:
            timeline.answer(request, found, self._unix())
        await record.deliver()

    async def _fetched(self, source: SourceId, start: datetime, end: datetime) -> list[PolledReading]:
        try:
            return [] if self._graphs is None else list(await self._graphs(source, start, end))
        except NoData:
            return []

    def _unix(self) -> float:
        return self._now().timestamp()

    @printable
    def __repr__(self) -> str:
        live = sum(record.mode is SiteMode.REALTIME for record in self._records.values())
        return f"<RealtimeSource {self.id}: {live} of {len(self._records)} sites in real time>"
