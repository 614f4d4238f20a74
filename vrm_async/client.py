"""`VRMClient`: one VRM account.

Each resource is made, and its models and decoders imported, at its first use: a program that reads one widget
does not load the code of all the others.
"""

# ruff: noqa: PLC0415  (resources are imported when they are first used)

from __future__ import annotations

import importlib.util
import warnings
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, overload

from energy_core._lazy import preloaded
from energy_core.clock import Clock, SystemClock
from energy_core.codec.drift import Drift
from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB, Priority
from energy_core.http.pages import Pages
from energy_core.http.pool import SessionPool
from energy_core.http.token_bucket import RateLimit
from energy_core.http.transport import ClientSession
from energy_core.printable import printable
from energy_core.stream.vocabulary import account_label
from energy_core.url import parse_base_url
from vrm_async import auth
from vrm_async.credentials import credentials as checked_means
from vrm_async.responses import check

if TYPE_CHECKING:
    from energy_core.http.client import ApiClient
    from vrm_async.models.snapshot import SiteSnapshot
    from vrm_async.resources.access import Access
    from vrm_async.resources.alarms import AlarmsResource
    from vrm_async.resources.catalogue import CatalogueResource, Codes
    from vrm_async.resources.custom_widgets import CustomWidgets
    from vrm_async.resources.downloads import Downloads
    from vrm_async.resources.dynamic_ess import DynamicEss
    from vrm_async.resources.fleet import Fleet
    from vrm_async.resources.forecasts import Forecasts
    from vrm_async.resources.installations import Installations
    from vrm_async.resources.stats import StatsResource
    from vrm_async.resources.tags import Tags
    from vrm_async.resources.tokens import Tokens
    from vrm_async.resources.users import Users
    from vrm_async.resources.widgets import Widgets
    from vrm_async.site_lookup import SiteLookup


class Resources:
    """The resources of VRM, each made at its first use."""

    def __init__(self, api: ApiClient, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    @cached_property
    def users(self) -> Users:
        """The account: its user, searching, invitations. Its sites are `sites()`."""
        from vrm_async.resources.users import Users

        return Users(self._api)

    @cached_property
    def tokens(self) -> Tokens:
        """Personal access tokens."""
        from vrm_async.resources.tokens import Tokens

        return Tokens(self._api, self.users)

    @cached_property
    def installations(self) -> Installations:
        """One site: its devices, the newest log of everything they measure, its settings."""
        from vrm_async.resources.installations import Installations

        return Installations(self._api)

    @cached_property
    def catalogue(self) -> CatalogueResource:
        """The catalogue of data attributes: what a code means."""
        from vrm_async.resources.catalogue import CatalogueResource

        return CatalogueResource(self._api)

    @cached_property
    def codes(self) -> Codes:
        """The name, unit and parts of each code: ``vrm.codes["Pc"].name``."""
        from vrm_async.resources.catalogue import Codes

        return Codes(self.catalogue)

    @cached_property
    def downloads(self) -> Downloads:
        """Exports of a site as files."""
        from vrm_async.resources.downloads import Downloads

        return Downloads(self._api, self._site_ids, self._lookup.resolve_range)

    @cached_property
    def stats(self) -> StatsResource:
        """Energy and measurements of a site in buckets of time."""
        from vrm_async.resources.stats import StatsResource

        return StatsResource(
            self._api,
            self._lookup.facts,
            self._lookup.resolve_range,
            self._lookup.known_zone,
            clock=self._clock,
        )

    @cached_property
    def widgets(self) -> Widgets:
        """The widgets of VRM's dashboard: graphs, newest values, changes of state."""
        from vrm_async.resources.widgets import Widgets

        return Widgets(
            self._api,
            self._lookup.zone,
            self._lookup.resolve_range,
            self._lookup.known_zone,
            clock=self._clock,
        )

    @cached_property
    def alarms(self) -> AlarmsResource:
        """Alarms of a site: active ones, those of the past, and the rules."""
        from vrm_async.resources.alarms import AlarmsResource

        return AlarmsResource(self._api, self.users, self._lookup.resolve_range, clock=self._clock)

    @cached_property
    def tags(self) -> Tags:
        """Labels of a site."""
        from vrm_async.resources.tags import Tags

        return Tags(self._api)

    @cached_property
    def access(self) -> Access:
        """Who may see and control a site."""
        from vrm_async.resources.access import Access

        return Access(self._api)

    @cached_property
    def dynamic_ess(self) -> DynamicEss:
        """Planning the battery by energy prices."""
        from vrm_async.resources.dynamic_ess import DynamicEss

        return DynamicEss(self._api)

    @cached_property
    def forecasts(self) -> Forecasts:
        """Settings of the forecasts of solar production and consumption."""
        from vrm_async.resources.forecasts import Forecasts

        return Forecasts(self._api)

    @cached_property
    def custom_widgets(self) -> CustomWidgets:
        """Dashboard widgets that users put together themselves."""
        from vrm_async.resources.custom_widgets import CustomWidgets

        return CustomWidgets(self._api)

    @cached_property
    def fleet(self) -> Fleet:
        """Requests about many sites at once."""
        from vrm_async.resources.fleet import Fleet

        return Fleet(self._api, self._site_ids)

    def sites(self, *, extended: bool = False, user_id: int | None = None) -> Pages[Site]:
        """List the sites of the account: ``await`` it, or use ``async for``. One request.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/installations

        Args:
            extended: Also request tags, alarms, local time and the newest values (`Site.extended`).
            user_id: List the sites of another user, whom an administrator or dealer may see.
        """
        from energy_core.checks import whole
        from vrm_async.models.site import Site
        from vrm_async.resources.users import read_sites

        owner = None if user_id is None else whole("user_id", user_id)
        return Pages.of_one_answer(
            lambda: read_sites(self._api, self.users, extended=extended, user_id=owner), of=Site
        )

    async def site(self, site: Site | int, *, extended: bool = False, user_id: int | None = None) -> Site:
        """Return one site as it is now. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/installations

        Args:
            site: The site or its id; `users.site_id` finds the id of a portal id.
            extended: Also request tags, alarms, local time and the newest values (`Site.extended`).
            user_id: Of another user, whom an administrator or dealer may see.

        Raises:
            NotFound: the account sees no such site.
        """
        from energy_core.checks import whole
        from vrm_async import validation
        from vrm_async.resources.users import no_such_site, read_sites

        site_id = validation.site_id(site)
        owner = None if user_id is None else whole("user_id", user_id)
        found = await read_sites(self._api, self.users, extended=extended, user_id=owner, site_id=site_id)
        for each in found:
            if each.id == site_id:
                return each
        raise no_such_site(site_id)

    async def _site_ids(self) -> list[int]:
        return [site.id for site in await self.sites()]

    @cached_property
    def _lookup(self) -> SiteLookup:
        from vrm_async.site_lookup import SiteLookup

        return SiteLookup(self._api, self.users, self._clock)


if TYPE_CHECKING:
    from datetime import datetime

    from energy_core.stream.merge import MergedStream
    from energy_core.stream.poll import Poller
    from energy_core.stream.polled import LookbackConfig
    from energy_core.token_expiry import TokenExpiry
    from vrm_async import operations
    from vrm_async.calendar import Calendar
    from vrm_async.models.site import Site
    from vrm_async.realtime_site import RealtimeConfig
    from vrm_async.realtime_source import RealtimeSource

BASE_URL: Final = "https://vrmapi.victronenergy.com/v2/"
LIMIT: Final = RateLimit(200, 3.0, 6)
"""VRM's documented rate limit: 200 requests at once, then one every 0.33 s; at most 6 at the same time.

Docs: https://vrm-api-docs.victronenergy.com/ (Rate limiting)
"""


class VRMClient(Resources):
    """Client of one VRM account: with an access token, a login (deprecated by VRM), or the public demo.

    Use it with ``async with``, or call `aclose`. Without a pool the client opens and closes its own. With a
    pool it shares the rate limiter and the login with every client of the same account in that pool.

    Args:
        pool: Shared with other clients; the client never closes it.
        session: An aiohttp session for a pool of the client's own, such as Home Assistant's; never closed.
        token: A personal access token, from VRM's preferences or `tokens.create`.
        username: The account's e-mail address, for a login.
        password: The account's password.
        sms_token: A one-time code for the first login; a later one raises `TwoFactorRequired`.
        demo: Use VRM's public demo account.
        account: The account's name in events and checkpoints; the default is the user id, which is requested
            before the first event.
        base_url: The API's address: https, or http on this machine.
        limit: The account's rate limit; the default is the one that VRM documents.
        strict: Raise `DecodeError` where VRM's answers differ from its documents, instead of counting it in
            `drift`.
        clock: The source of the present time; for tests.

    Raises:
        ValueError: arguments exclude each other, one is missing or empty, or the pool has the account with
            another credential.
    """

    def __init__(
        self,
        pool: SessionPool | None = None,
        *,
        session: ClientSession | None = None,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sms_token: str | None = None,
        demo: bool = False,
        account: str | None = None,
        base_url: str = BASE_URL,
        limit: RateLimit = LIMIT,
        strict: bool = False,
        clock: Clock = SystemClock(),  # noqa: B008  (stateless)
    ) -> None:
        if pool is not None and not isinstance(pool, SessionPool):
            raise TypeError(f"pool must be a SessionPool, not {type(pool).__name__}; did you mean token=...?")
        if pool is not None and session is not None:
            raise ValueError(
                "give a pool or a session, not both: SessionPool(session) is a pool with a session"
            )
        if not isinstance(limit, RateLimit):
            raise TypeError(f"limit must be a RateLimit, not {type(limit).__name__}")
        means = checked_means(
            token=token, username=username, password=password, sms_token=sms_token, demo=demo
        )
        # Checks come first: after a wrong argument the pool has no account of it.
        label = account_label(account)
        base = parse_base_url(base_url)
        self._pool = SessionPool(session, clock=clock) if pool is None else pool
        self._owns_pool = pool is None
        self._label = label
        self._has_token = means.token is not None
        self.auth = auth.Auth(means)
        self._account = self._pool.account(
            base.origin,
            means.owner if label is None else label,
            limit,
            self.auth.credential,
            owner=means.owner,
            user=self,
        )
        super().__init__(
            ApiClient(self._pool, self._account, base, vendor="vrm", check=check, strict=strict), clock
        )
        self.auth.bind(self._api, self._account)
        if means.logs_in:
            warnings.warn(auth.DEPRECATED, DeprecationWarning, stacklevel=2)

    @property
    def drift(self) -> Drift:
        """Counts of differences between VRM's answers and its documents."""
        return self._api.drift

    def diagnostics(self, events: MergedStream | None = None) -> dict[str, JSON]:
        """Return one JSON document for an issue or a support request. Needs a running event loop.

        Versions, requests and limits of the pool, differences between VRM's answers and its documents, and
        the state of each source. It has no secret and names no account, site or person.

        Args:
            events: The stream whose sources of VRM are described.
        """
        from energy_core.diagnostics import diagnose

        return diagnose("vrm", self._pool, self.drift, self._account.vendor_clock, events)

    @overload
    def live(
        self,
        *sites: Site | int,
        interval_s: float = 60.0,
        lookback: LookbackConfig | None = None,
        realtime: Literal[False] = False,
        realtime_config: None = None,
    ) -> Poller: ...

    @overload
    def live(
        self,
        *sites: Site | int,
        interval_s: float = 60.0,
        lookback: LookbackConfig | None = None,
        realtime: bool | Literal["auto"],
        realtime_config: RealtimeConfig | None = None,
    ) -> Poller | RealtimeSource: ...

    def live(
        self,
        *sites: Site | int,
        interval_s: float = 60.0,
        lookback: LookbackConfig | None = None,
        realtime: bool | Literal["auto"] = False,
        realtime_config: RealtimeConfig | None = None,
    ) -> Poller | RealtimeSource:
        """Return a source of readings for `merge`. Nothing is sent before the merged stream starts.

        One request an interval serves all sites. Two more a day read when the access token expires; in its
        last 14 days the source's notes in `events.status` have a warning, and so has the log, once a day.

        In real time, values of about every second arrive over MQTT
        as well; the time of such a reading is that of its arrival. While there is no real time, readings of
        polls are delivered, and the status says why. What is missed in between is fetched from graphs and
        delivered with `backfilled` set, or reported as a gap. Nothing is ever written to a site: the only
        message that is sent keeps it publishing.

        Docs: https://github.com/victronenergy/dbus-flashmq

        Args:
            sites: The sites or their ids; none means every site of the account.
            interval_s: Seconds between two requests. Devices log once a minute at most.
            lookback: When and how far the past of each device is read again, for data that VRM received late;
                one request a device.
            realtime: Whether to receive values in real time. "auto": where it is installed and each site
                allows it, without a word where not.
            realtime_config: The brokers' address and times, for tests and proxies.

        Raises:
            ModuleNotFoundError: `realtime` is True, and the extra `mqtt` is not installed.
            ValueError: an argument is out of its range.
        """
        from vrm_async import live as vrm_async_live
        from vrm_async import validation

        if realtime not in (True, False, "auto"):
            raise ValueError(f'realtime must be True, False or "auto", not {realtime!r}')
        if realtime_config is not None and not realtime:
            raise ValueError("realtime_config needs realtime=True")
        make_poller = partial(
            vrm_async_live.live,
            self._api,
            self.users,
            tuple(validation.site_id(site) for site in sites),
            account=self._label,
            interval_s=interval_s,
            lookback=lookback,
            clock=self._clock,
            owner=self._account.owner if self._label else "",  # a user id is one user, whatever the token
            expiry=self._token_expiry,
        )
        if not realtime:
            return make_poller()
        if importlib.util.find_spec("aiomqtt") is None:
            if realtime == "auto":
                return make_poller()
            needed = "real time needs aiomqtt, which is not installed: pip install 'energy-live[mqtt]'"
            raise ModuleNotFoundError(needed, name="aiomqtt")
        from vrm_async import realtime_source

        return realtime_source.live(
            make_poller,
            realtime_source.BrokerLogin(self._api, self.users),
            realtime_config,
            lookback=lookback,
            clock=self._clock,
            where_allowed=realtime == "auto",
        )

    @cached_property
    def _token_expiry(self) -> TokenExpiry | None:
        """One check a day for all sources of this client; None for a login, which is renewed."""
        from energy_core.token_expiry import TokenExpiry

        async def read() -> datetime | None:
            token = await self.tokens.current()
            return None if token is None else token.expires

        return TokenExpiry("vrm", read, self._clock) if self._has_token else None

    def now(self, *sites: Site | int, max_age_s: float = 900.0) -> Pages[SiteSnapshot]:
        """Return the present values of sites: ``await`` it for all, or use ``async for``.

        One request returns the newest values of all sites; the first call of a client also requests the
        account's user id. Monitoring access is enough. Values are those of `live`: units and signs are those
        of `Quantity`, and a value that VRM does not have is missing. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/installations

        Args:
            sites: The sites or their ids; none means every site of the account.
            max_age_s: Seconds after which data is `stale`. Many gateways log every 15 minutes.

        Raises:
            NotFound: the account's list of sites does not have one of `sites`.
            ValueError: `max_age_s` is not positive.
        """
        from vrm_async import present, validation
        from vrm_async.models.snapshot import SiteSnapshot

        if not max_age_s > 0:
            raise ValueError(f"max_age_s must be a positive number of seconds, not {max_age_s!r}")
        site_ids = tuple(validation.site_id(site) for site in sites)
        return Pages.of_one_answer(
            lambda: present.now(
                self._api,
                self.users,
                site_ids,
                account=self._label,
                max_age_s=max_age_s,
                clock=self._clock,
            ),
            of=SiteSnapshot,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: operations.Query = (),
        json: JSON = None,
        repeatable: bool = False,
        priority: Priority = Priority.INTERACTIVE,
        body_limit: int = 16 * MIB,
    ) -> JSON:
        """Send a request that no other method sends, with the same login, rate limit, retries and errors.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: Relative to the base URL, such as ``installations/151001/dashboard``.
            query: Pairs of name and value, or a mapping. A name may repeat; brackets are sent as they are.
            json: The body.
            repeatable: Whether the request is idempotent, so that it may be sent again after a failure.
            priority: The priority in the rate limiter's queue.
            body_limit: The largest answer in bytes.

        Returns:
            The answer's JSON with its envelope; an answer with ``success: false`` raises as everywhere.
        """
        from vrm_async import operations

        operation = operations.operation(method, path, repeatable=repeatable, body_limit=body_limit)
        pairs = operations.pairs(query)
        return await self._api.call(operation, operations.as_it_is, query=pairs, json=json, priority=priority)

    async def calendar(self, site: Site | int) -> Calendar:
        """Return the local days of a site: ``calendar.yesterday()``, ``calendar.month(2026, 5)``.

        The time zone is that of the `Site`. For an id the list of sites is requested, once for all sites.
        Cancelling is safe.

        Raises:
            NotFound: the account's list of sites does not have the site.
            DecodeError: VRM has no time zone for the site, or one that this machine does not know.
        """
        return (await self._lookup.facts(site)).calendar

    async def aclose(self) -> None:
        """Close the client's own pool; a shared pool stays open. Idempotent."""
        self._account.release(self)
        if self._owns_pool:
            await self._pool.aclose()

    async def __aenter__(self) -> Self:
        if self._owns_pool:
            await self._pool.__aenter__()
        else:
            await preloaded()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @printable
    def __repr__(self) -> str:
        return f"<VRMClient {self._label or 'default account'}>"
