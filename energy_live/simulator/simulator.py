"""Both services on loopback, fed by the same households."""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from attrs import define, field

from energy_core.clock import Clock, SystemClock
from energy_live.simulator.clock import Timeline
from energy_live.simulator.faults import Faults
from energy_live.simulator.household.household import Household
from energy_live.simulator.server import Journal, LoggedRequest, SimulatedService
from energy_live.simulator.voltstorage.accounts import LONGEST_VALIDITY_S, VoltAccounts
from energy_live.simulator.voltstorage.events import ProductEvents, SentFrame
from energy_live.simulator.voltstorage.server import VoltServer
from energy_live.simulator.vrm.accounts import AccessToken, VrmAccounts, invented
from energy_live.simulator.vrm.installations import Installations
from energy_live.simulator.vrm.rate_limit import RollingWindow
from energy_live.simulator.vrm.server import VrmServer
from energy_live.simulator.vrm.sites import DelayedLogs
from energy_live.simulator.world import PRODUCT_IDS, SITE_IDS, World, build_world

DEFAULT_SPEED: Final = 30.0
"""At this pace VRM, which logs once a household minute, knows something new every two seconds."""


@define(kw_only=True)
class _Running:
    """What exists while the simulator runs."""

    world: World
    timeline: Timeline
    journal: Journal
    events: ProductEvents
    vrm: VrmServer
    volt: VoltServer
    services: tuple[SimulatedService, SimulatedService]


@define(kw_only=True, eq=False)
class Simulator:
    """VRM and VoltStorage on 127.0.0.1, for `async with`. Names, secrets and weather follow from the seed."""

    seed: int = 1
    speed: float = DEFAULT_SPEED
    """How many household seconds pass in one real second."""
    start: datetime | None = None
    """The household's first moment, aware; now if left out. Any past is reachable either way."""
    host: str = "127.0.0.1"
    """A loopback address."""
    vrm_port: int = 0
    """0 chooses a free port."""
    volt_port: int = 0
    faults: Faults = field(factory=Faults)
    """What goes wrong; programmable while the servers run."""
    frame_s: float = 1.0
    """Real seconds between two events of a product."""
    window: int = 200
    """How many requests VRM's limiter holds."""
    leaves_every_s: float = 0.33
    """One request leaves the limiter per that many real seconds."""
    count_rejected: bool = False
    """Whether a refused request enters the limiter too: the description can be read both ways."""
    bearer_lifetime_s: float = 86_400.0
    """Real seconds for which a VRM login is good."""
    logout_method: str = "POST"
    """How VRM wants to be asked to log out; its two descriptions disagree, so a client must bear both."""
    skew_s: float = 0.0
    """How far VoltStorage's wall clock is ahead, as its tokens show it."""
    export_step_s: int = 1
    """Household seconds between two rows of an export; more than one makes years of it quick."""
    history_days: int | None = None
    """How many days before `start` the owner's batteries were installed; None leaves each its own date."""
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
        self.new_rate_limit()  # says at once what is wrong with a window

    def new_rate_limit(self) -> RollingWindow:
        """Return a fresh window as VRM's server keeps one per account."""
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
        except BaseException:
            await self._stack.aclose()
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

    def _build(self) -> _Running:
        timeline = Timeline(self.clock, speed=self.speed, start=self.start)
        cast = build_world(self.seed, timeline.start, history_days=self.history_days)
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
        """VRM's base URL."""
        return f"http://{self._address(0)}/v2/"

    @property
    def voltstorage_url(self) -> str:
        """VoltStorage's base URL."""
        return f"http://{self._address(1)}/rest/"

    @property
    def events_url(self) -> str:
        """Where VoltStorage's WebSocket is."""
        return f"ws://{self._address(1)}/rest/products/events"

    def _address(self, which: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self._started.services[which].port}"

    @property
    def vrm_token(self) -> str:
        """The main user's personal access token, 64 hex digits."""
        return invented(self.seed, "vrm/token")

    @property
    def vrm_user_id(self) -> int:
        """The main user's number at VRM."""
        return self._started.world.user.id

    @property
    def vrm_username(self) -> str:
        """The main user's name at VRM."""
        return self._started.world.user.email

    @property
    def vrm_password(self) -> str:
        """The main user's password at VRM."""
        return self._started.world.user.password

    @property
    def sms_username(self) -> str:
        """The name of a user whose login needs a code by SMS."""
        return self._started.world.sms_user.email

    @property
    def sms_password(self) -> str:
        """That user's password."""
        return self._started.world.sms_user.password

    @property
    def sms_token(self) -> str:
        """The code that user's next login needs, as the telephone shows it; it serves once."""
        return self._started.vrm.accounts.send_code(self._started.world.sms_user)

    @property
    def volt_email(self) -> str:
        """The owner's e-mail address at VoltStorage."""
        return self._started.world.owner.email

    @property
    def volt_password(self) -> str:
        """The owner's password at VoltStorage."""
        return self._started.world.owner.password

    def volt_token(self, validity_s: float = LONGEST_VALIDITY_S) -> str:
        """Return a new token of the owner, as a login would give it."""
        return self._started.volt.accounts.issue(self._started.world.owner, validity_s)

    @property
    def site_ids(self) -> Sequence[int]:
        """The main user's installations. The first is the home the first product measures too."""
        return SITE_IDS

    @property
    def product_ids(self) -> Sequence[int]:
        """The owner's products: one that works, one that fell silent, one that was never installed."""
        return PRODUCT_IDS

    @property
    def requests(self) -> deque[LoggedRequest]:
        """Every request the servers saw, oldest first."""
        return self._started.journal.requests

    @property
    def counters(self) -> Mapping[str, int]:
        """Counted: `logins`, `failed_logins`, `limited`, `handshakes`, `frames`, `faults`; absent while 0."""
        return self._started.journal.counters

    @property
    def frames(self) -> deque[SentFrame]:
        """Every product event that was sent, oldest first."""
        return self._started.events.frames

    @property
    def close_codes(self) -> deque[int | None]:
        """The close code of each event connection that has ended, oldest first; None where it broke off."""
        return self._started.events.close_codes

    @property
    def tokens(self) -> Sequence[AccessToken]:
        """The main user's personal access tokens."""
        return self._started.vrm.accounts.of(self._started.world.user)

    def now(self) -> float:
        """Return the household's present moment, unix seconds."""
        return self._started.timeline.now()

    def household(self, id: int) -> Household:  # noqa: A002  (a site's or product's)
        """Return the home that a site or product measures."""
        homes = {site.id: site.household for site in self._started.world.sites}
        homes |= {product.id: product.household for product in self._started.world.products}
        return homes[id]

    def delay_logs(self, site_id: int, start: float, end: float, arrives: float = math.inf) -> None:
        """Let VRM have a site's logs from `start` on and before `end` only at `arrives`, all unix seconds.

        The list of sites and the graphs go by that: they show what VRM has at the time.
        """
        self._started.vrm.installations.sites[site_id].delays.append(DelayedLogs(start, end, arrives))

    def vrm_rate_limit(self) -> RollingWindow:
        """Return the main user's window in VRM's limiter."""
        return self._started.vrm.limiter(f"user/{self.vrm_user_id}")

    def expire_tokens(self) -> None:
        """Make every token that a login has issued invalid from now on."""
        self.faults.expire_tokens()

    def environment(self) -> dict[str, str]:
        """Return the environment that points the clients here."""
        return {
            "VRM_TOKEN": self.vrm_token,
            "VRM_BASE_URL": self.vrm_url,
            "VOLTSTORAGE_EMAIL": self.volt_email,
            "VOLTSTORAGE_PASSWORD": self.volt_password,
            "VOLTSTORAGE_BASE_URL": self.voltstorage_url,
        }
