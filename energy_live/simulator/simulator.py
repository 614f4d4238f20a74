"""`Simulator`: starts both servers on loopback addresses and gives access to their state."""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field

from energy_core.clock import Clock, SystemClock
from energy_live.simulator.clock import Timeline
from energy_live.simulator.faults import Faults
from energy_live.simulator.household.household import Household
from energy_live.simulator.mosquitto import Mosquitto
from energy_live.simulator.server import Journal, LoggedRequest, SimulatedService
from energy_live.simulator.voltstorage.accounts import LONGEST_VALIDITY_S, VoltAccounts
from energy_live.simulator.voltstorage.events import ProductEvents, SentFrame
from energy_live.simulator.voltstorage.server import VoltServer
from energy_live.simulator.vrm.accounts import AccessToken, VrmAccounts, invented
from energy_live.simulator.vrm.gateways import Gateways
from energy_live.simulator.vrm.installations import Installations
from energy_live.simulator.vrm.rate_limit import RollingWindow
from energy_live.simulator.vrm.server import VrmServer
from energy_live.simulator.vrm.sites import DelayedLogs
from energy_live.simulator.world import MORE_SITES, PRODUCT_IDS, SITE_IDS, World, build_world

DEFAULT_SPEED: Final = 30.0
"""Default speed: VRM's gateway logs once a household minute, which is every two real seconds then."""


@define(kw_only=True)
class _Running:
    """Parts of a started simulator."""

    world: World
    timeline: Timeline
    journal: Journal
    events: ProductEvents
    vrm: VrmServer
    volt: VoltServer
    services: tuple[SimulatedService, SimulatedService]
    broker: Mosquitto | None = None
    gateways: Gateways | None = None


@define(kw_only=True, eq=False)
class Simulator:
    """VRM and VoltStorage on 127.0.0.1, as an async context manager.

    Users, tokens, passwords and weather are functions of the seed, so that runs can be repeated.

        async with Simulator(start=datetime(2026, 6, 1, 12, tzinfo=UTC)) as simulator:
            vrm = VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url)

    Raises:
        ValueError: `host` is not a loopback address, or a number is out of its range.
        OSError: A port is in use.
    """

    seed: int = 1
    speed: float = DEFAULT_SPEED
    """Household seconds per real second."""
    start: datetime | None = None
    """Household time at the start, aware; None: now. Data from before it can be requested too."""
    host: str = "127.0.0.1"
    """The loopback address to listen on."""
    vrm_port: int = 0
    """Port of VRM's server; 0: a free one."""
    volt_port: int = 0
    """Port of VoltStorage's server; 0: a free one."""
    faults: Faults = field(factory=Faults)
    """Fault injection; rules can be added while the servers run."""
    frame_s: float = 1.0
    """Real seconds between two events of a product."""
    window: int = 200
    """Capacity of VRM's rate limit, in requests."""
    leaves_every_s: float = 0.33
    """Real seconds after which the rate limit has room for one more request."""
    count_rejected: bool = False
    """Whether a request that is answered 429 counts too; VRM's documents do not specify it."""
    bearer_lifetime_s: float = 86_400.0
    """Lifetime of a VRM login's token, in real seconds."""
    logout_method: str = "POST"
    """HTTP method of VRM's logout: its OpenAPI document has GET, its older text POST."""
    skew_s: float = 0.0
    """Seconds that VoltStorage's wall clock is ahead, as seen in `iat` and `exp` of its tokens."""
    export_step_s: int = 1
    """Household seconds between two rows of an export; a larger step makes exports of years fast."""
    history_days: int | None = None
    """Age of all batteries and sites at `start`, in days; None: each has its own first day."""
    more_sites: int = 0
    """Number of further sites of VRM's main user."""
    realtime: bool = False
    """Whether VRM's MQTT broker runs too: a mosquitto, with the extra `mqtt`. Use a `speed` of 1 with it."""
    broker_options: Mapping[str, Any] = field(factory=dict)
    """Further arguments of `Mosquitto`, such as `certificate`; without one, the WebSocket has no TLS."""
    clock: Clock = field(factory=SystemClock)
    _running: _Running | None = field(default=None, init=False, repr=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not ipaddress.ip_address(self.host).is_loopback:
            raise ValueError(f"the simulator only listens on loopback addresses, not on {self.host}")
        if self.start is not None and self.start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        if not self.speed > 0.0 or not self.frame_s > 0.0:
            raise ValueError(f"speed and frame_s must be above 0: {self.speed}, {self.frame_s}")
        if self.export_step_s < 1 or (self.history_days is not None and self.history_days < 1):
            raise ValueError(f"must be at least 1: {self.export_step_s}, {self.history_days}")
        if self.more_sites < 0:
            raise ValueError(f"more_sites must not be negative: {self.more_sites}")
        self.new_rate_limit()  # raises ValueError if its arguments are wrong

    def new_rate_limit(self) -> RollingWindow:
        """Return a new rate limit, as VRM's server keeps one for each account."""
        return RollingWindow(self.window, self.leaves_every_s, count_rejected=self.count_rejected)

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise RuntimeError("the simulator is already running")
        world = self._build()
        vrm, volt = world.services
        try:
            await vrm.start(world.vrm.application(logout=self.logout_method), self.host, self.vrm_port)
            self._stack.push_async_callback(vrm.stop)
            await volt.start(world.volt.application(), self.host, self.volt_port)
            self._stack.push_async_callback(volt.stop)
            if self.realtime:
                await self._start_broker(world)
        except BaseException:
            await self._stack.aclose()  # the first server may be running
            raise
        self.faults.on_expire += [world.vrm.accounts.expire, world.volt.accounts.expire]
        self._running = world
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.on_expire.clear()
        try:
            await self._stack.aclose()
        finally:
            self._running = None

    async def _start_broker(self, running: _Running) -> None:
        """Start VRM's broker, and connect the gateways of all sites to it."""
        users, sites = running.world.user, running.world.sites
        broker = running.broker = await self._stack.enter_async_context(
            Mosquitto(
                **{
                    "users": {users.email: f"Token {self.vrm_token}"},
                    "sites": {users.email: [site.identifier for site in sites if site.user == users.id]},
                    **self.broker_options,
                }
            )
        )
        gateways = running.gateways = Gateways(sites, running.timeline, self.clock, broker)
        gateways.start()
        self._stack.push_async_callback(gateways.stop)

    def _build(self) -> _Running:
        timeline = Timeline(self.clock, speed=self.speed, start=self.start)
        cast = build_world(
            self.seed, timeline.start, history_days=self.history_days, more_sites=self.more_sites
        )
        journal = Journal()
        events = ProductEvents(timeline, journal, self.faults, frame_s=self.frame_s)
        users = VrmAccounts(self.seed, self.clock, self.bearer_lifetime_s)
        for user in (cast.user, cast.sms_user, cast.demo_user):
            users.add(user)
        users.create(cast.user, "energy-live", value=self.vrm_token)
        owners = VoltAccounts(self.seed, self.clock, self.skew_s, [cast.owner, cast.stranger])
        return _Running(
            world=cast,
            timeline=timeline,
            journal=journal,
            events=events,
            vrm=VrmServer(timeline, users, Installations(timeline, cast.sites), journal, self.new_rate_limit),
            volt=VoltServer(
                timeline, owners, cast.products, journal, events, export_step_s=self.export_step_s
            ),
            services=(
                SimulatedService(
                    "vrm",
                    "/v2/",
                    clock=self.clock,
                    timeline=timeline,
                    journal=journal,
                    faults=self.faults,
                ),
                SimulatedService(
                    "voltstorage",
                    "/rest/",
                    clock=self.clock,
                    timeline=timeline,
                    journal=journal,
                    faults=self.faults,
                ),
            ),
        )

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the simulator is not running: use it in an `async with`")
        return self._running

    @property
    def world(self) -> World:
        """Users, sites and products of the seed, also those that the main accounts may not see."""
        return self._started.world

    @property
    def vrm_server(self) -> VrmServer:
        """Server of VRM's API."""
        return self._started.vrm

    @property
    def volt_server(self) -> VoltServer:
        """Server of VoltStorage's API."""
        return self._started.volt

    @property
    def vrm_url(self) -> str:
        """Base URL of VRM's API."""
        return f"http://{self._address(0)}/v2/"

    @property
    def voltstorage_url(self) -> str:
        """Base URL of VoltStorage's API."""
        return f"http://{self._address(1)}/rest/"

    @property
    def events_url(self) -> str:
        """Address of VoltStorage's WebSocket."""
        return f"ws://{self._address(1)}/rest/products/events"

    def _address(self, which: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self._started.services[which].port}"

    @property
    def broker(self) -> Mosquitto:
        """VRM's MQTT broker; only with `realtime`."""
        if self._started.broker is None:
            raise RuntimeError("the simulator has no broker: use Simulator(realtime=True)")
        return self._started.broker

    @property
    def gateways(self) -> Gateways:
        """The gateways that publish to the broker; only with `realtime`."""
        if self._started.gateways is None:
            raise RuntimeError("the simulator has no gateways: use Simulator(realtime=True)")
        return self._started.gateways

    @property
    def vrm_token(self) -> str:
        """Personal access token of VRM's main user, 64 hex digits."""
        return invented(self.seed, "vrm/token")

    @property
    def vrm_user_id(self) -> int:
        """Number of VRM's main user."""
        return self._started.world.user.id

    @property
    def vrm_username(self) -> str:
        """Login name of VRM's main user."""
        return self._started.world.user.email

    @property
    def vrm_password(self) -> str:
        """Password of VRM's main user."""
        return self._started.world.user.password

    @property
    def sms_username(self) -> str:
        """Login name of a VRM user whose login needs a code sent by SMS."""
        return self._started.world.sms_user.email

    @property
    def sms_password(self) -> str:
        """Password of the VRM user whose login needs a code."""
        return self._started.world.sms_user.password

    @property
    def sms_token(self) -> str:
        """One-time code for the next login of that user."""
        return self._started.vrm.accounts.send_code(self._started.world.sms_user)

    @property
    def volt_email(self) -> str:
        """E-mail address of VoltStorage's main user."""
        return self._started.world.owner.email

    @property
    def volt_password(self) -> str:
        """Password of VoltStorage's main user."""
        return self._started.world.owner.password

    def volt_token(self, validity_s: float = LONGEST_VALIDITY_S) -> str:
        """Return a new token of VoltStorage's main user, as a login returns it."""
        return self._started.volt.accounts.issue(self._started.world.owner, validity_s)

    @property
    def site_ids(self) -> Sequence[int]:
        """Numbers of the main user's sites. The first site and the first product are in the same home."""
        return (*SITE_IDS, *range(MORE_SITES, MORE_SITES + self.more_sites))

    @property
    def product_ids(self) -> Sequence[int]:
        """Numbers of the main user's products: one online, one offline, one never installed."""
        return PRODUCT_IDS

    @property
    def requests(self) -> deque[LoggedRequest]:
        """Every request that the servers received, the oldest first."""
        return self._started.journal.requests

    @property
    def counters(self) -> Mapping[str, int]:
        """Counters `logins`, `failed_logins`, `limited`, `handshakes`, `frames`, `faults`; absent while 0."""
        return self._started.journal.counters

    @property
    def frames(self) -> deque[SentFrame]:
        """Every product event that was sent, the oldest first."""
        return self._started.events.frames

    @property
    def close_codes(self) -> deque[int | None]:
        """Close code of each ended WebSocket, the oldest first; None if it ended without a close frame."""
        return self._started.events.close_codes

    @property
    def tokens(self) -> Sequence[AccessToken]:
        """Personal access tokens of VRM's main user."""
        return self._started.vrm.accounts.of(self._started.world.user)

    def now(self) -> float:
        """Return the household time, in Unix seconds."""
        return self._started.timeline.now()

    def advance(self, seconds: float) -> None:
        """Move the household's clock ahead at once: logs, statistics and recorded data are there up to then.

        With a small `speed` the clock stands still in between, and tests know the time of each value.

        Raises:
            ValueError: `seconds` is not a number from 0 on.
        """
        self._started.timeline.advance(seconds)

    def household(self, id: int) -> Household:  # noqa: A002  (of a site or product)
        """Return the household of a site or product."""
        homes = {site.id: site.household for site in self._started.world.sites}
        homes |= {product.id: product.household for product in self._started.world.products}
        return homes[id]

    def delay_logs(self, site_id: int, start: float, end: float, arrives: float = math.inf) -> None:
        """Delay the logs of a site, as a gateway does that was offline.

        Args:
            site_id: The site.
            start: First log to delay, in Unix seconds of household time.
            end: End of the delayed logs (exclusive).
            arrives: When VRM receives them; never by default.
        """
        self._started.vrm.installations.sites[site_id].delays.append(DelayedLogs(start, end, arrives))

    def vrm_rate_limit(self) -> RollingWindow:
        """Return the rate limit of VRM's main user."""
        return self._started.vrm.limiter(f"user/{self.vrm_user_id}")

    def expire_tokens(self) -> None:
        """Invalidate every token that a login has issued; personal access tokens stay valid."""
        self.faults.expire_tokens()

    def environment(self) -> dict[str, str]:
        """Return environment variables with the simulator's base URLs and credentials."""
        broker = self._started.broker
        return {
            **({} if broker is None else {"VRM_REALTIME_URL": broker.url}),
            "VRM_TOKEN": self.vrm_token,
            "VRM_BASE_URL": self.vrm_url,
            "VOLTSTORAGE_EMAIL": self.volt_email,
            "VOLTSTORAGE_PASSWORD": self.volt_password,
            "VOLTSTORAGE_BASE_URL": self.voltstorage_url,
        }
