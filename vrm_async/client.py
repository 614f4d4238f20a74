"""The groups of endpoints that a client offers.

Each is made, and its models and codecs imported, when it is first used: a program that asks for one panel
does not load what it takes to read all of VRM.
"""

# ruff: noqa: PLC0415  (resources are imported when they are first used)

from __future__ import annotations

import warnings
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from energy_core._lazy import preloaded
from energy_core.codec.drift import Drift
from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from energy_core.http.operation import MIB, Priority
from energy_core.http.pool import SessionPool
from energy_core.http.rate_limit import RateLimit
from energy_core.printable import printable
from energy_core.stream.vocabulary import account_label
from energy_core.url import parse_base_url
from vrm_async import auth
from vrm_async.credentials import credentials as checked_means
from vrm_async.responses import check

if TYPE_CHECKING:
    from energy_core.http.client import ApiClient
    from vrm_async.resources.access import Access
    from vrm_async.resources.alarms import AlarmsResource
    from vrm_async.resources.catalogue import CatalogueResource
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
    """Everything under one `ApiClient`, by subject."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    @cached_property
    def users(self) -> Users:
        """The account and its sites."""
        from vrm_async.resources.users import Users

        return Users(self._api)

    @cached_property
    def tokens(self) -> Tokens:
        """Personal access tokens."""
        from vrm_async.resources.tokens import Tokens

        return Tokens(self._api, self.users)

    @cached_property
    def installations(self) -> Installations:
        """One site: its devices and the newest log of everything they measure."""
        from vrm_async.resources.installations import Installations

        return Installations(self._api)

    @cached_property
    def catalogue(self) -> CatalogueResource:
        """The data attributes: what a code means."""
        from vrm_async.resources.catalogue import CatalogueResource

        return CatalogueResource(self._api)

    @cached_property
    def downloads(self) -> Downloads:
        """Files of a site."""
        from vrm_async.resources.downloads import Downloads

        return Downloads(self._api, self._site_ids)

    @cached_property
    def stats(self) -> StatsResource:
        """Energy and measurements of a site in buckets of time."""
        from vrm_async.resources.stats import StatsResource

        return StatsResource(self._api, self._places.facts)

    @cached_property
    def widgets(self) -> Widgets:
        """The panels of VRM's dashboard."""
        from vrm_async.resources.widgets import Widgets

        return Widgets(self._api, self._places.zone)

    @cached_property
    def alarms(self) -> AlarmsResource:
        """Alarms of a site: the rules, and what they raised."""
        from vrm_async.resources.alarms import AlarmsResource

        return AlarmsResource(self._api)

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
        """Forecasts of sun and consumption."""
        from vrm_async.resources.forecasts import Forecasts

        return Forecasts(self._api)

    @cached_property
    def custom_widgets(self) -> CustomWidgets:
        """Panels that the users of a site put together themselves."""
        from vrm_async.resources.custom_widgets import CustomWidgets

        return CustomWidgets(self._api)

    @cached_property
    def fleet(self) -> Fleet:
        """Questions about many sites at once."""
        from vrm_async.resources.fleet import Fleet

        return Fleet(self._api, self._site_ids)

    async def _site_ids(self) -> list[int]:
        return [site.id for site in await self.users.installations()]

    @cached_property
    def _places(self) -> SiteLookup:
        from vrm_async.site_lookup import SiteLookup

        return SiteLookup(self.users)


if TYPE_CHECKING:
    from energy_core.stream.poll import Poller
    from energy_core.stream.polled import LookbackConfig
    from vrm_async import operations
    from vrm_async.calendar import Calendar

BASE_URL: Final = "https://vrmapi.victronenergy.com/v2/"
LIMIT: Final = RateLimit(200, 3.0, 6)
"""VRM allows 200 requests in a window that one leaves every 0.33 s."""


class VRMClient(Resources):
    """Victron's VRM for one account: an access token, a login (deprecated by VRM), or its public demo.

    Without a pool it opens its own at the first await and owns it; with one it shares lane and login with
    every client of the same account there. Use it with ``async with``, or call `aclose`.

    Args:
        pool: Shared with other clients; it is never closed here.
        token: A personal access token, from VRM's preferences or `tokens.create`.
        username: The account's e-mail address, for a login.
        password: The account's password.
        sms_token: A one-time code for the first login; a later one raises `TwoFactorRequired`.
        demo: Use VRM's public demo account.
        account: Names the account in events and checkpoints, whatever its credential is; the default is the
            user id, which VRM is asked for before the first event.
        base_url: Where the API is; https, or http on this machine.
        limit: What the account may send; the default is VRM's own figure.
        strict: Raise `DecodeError` where VRM's answers drift from its documents, instead of counting it.

    Raises:
        ValueError: Arguments exclude each other, one is missing or empty, or the pool knows the account with
            another credential.
    """

    def __init__(
        self,
        pool: SessionPool | None = None,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sms_token: str | None = None,
        demo: bool = False,
        account: str | None = None,
        base_url: str = BASE_URL,
        limit: RateLimit = LIMIT,
        strict: bool = False,
    ) -> None:
        if pool is not None and not isinstance(pool, SessionPool):
            raise TypeError(f"pool must be a SessionPool, not {type(pool).__name__}; did you mean token=...?")
        if not isinstance(limit, RateLimit):
            raise TypeError(f"limit must be a Limit, not {type(limit).__name__}")
        means = checked_means(
            token=token, username=username, password=password, sms_token=sms_token, demo=demo
        )
        label = account_label(account)
        base = parse_base_url(base_url)
        self._pool = SessionPool() if pool is None else pool
        self._owns_pool = pool is None
        self._label = label
        self.auth = auth.Auth(means)
        self._account = self._pool.account(
            base.origin,
            means.owner if label is None else label,
            limit,
            self.auth.credential,
            owner=means.owner,
            user=self,
        )
        super().__init__(ApiClient(self._pool, self._account, base, vendor="vrm", check=check, strict=strict))
        self.auth.bind(self._api, self._account)
        if means.logs_in:
            warnings.warn(auth.DEPRECATED, DeprecationWarning, stacklevel=2)

    @property
    def drift(self) -> Drift:
        """What VRM sent that its documents do not say."""
        return self._api.drift

    def live(
        self, *site_ids: int, interval_s: float = 60.0, lookback: LookbackConfig | None = None
    ) -> Poller:
        """Return a source of readings for `merge`: of these sites, or of every site of the account.

        Args:
            site_ids: The sites; one request an interval serves them all.
            interval_s: Seconds from one request to the next; devices log every minute at the most.
            lookback: When and how far each device is looked back at, which takes a request a device.
        """
        from vrm_async import live as vrm_async_live

        return vrm_async_live.live(
            self._api,
            self.users,
            site_ids,
            account=self._label,
            interval_s=interval_s,
            lookback=lookback,
            owner=self._account.owner if self._label else "",  # a user id is one user, whatever the token
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
        """Ask what no method of this client asks, through the same pool, limit, login and errors.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: Relative to the base URL, such as ``installations/151001/dashboard``.
            query: Pairs of name and value, or a mapping; a name may repeat, brackets are sent as they are.
            json: The body.
            repeatable: Whether it may be sent again after a fault: only where that changes nothing.
            priority: Its class in the lane.
            body_limit: The largest answer in bytes.

        Returns:
            The answer's JSON, envelope and all; a refusal is an error as everywhere.
        """
        from vrm_async import operations

        operation = operations.operation(method, path, repeatable=repeatable, body_limit=body_limit)
        pairs = operations.pairs(query)
        return await self._api.call(operation, operations.as_it_is, query=pairs, json=json, priority=priority)

    async def calendar(self, site_id: int) -> Calendar:
        """Return the calendar of a site's own time zone: "yesterday", "this month", midnight to midnight.

        The list of installations is asked once for all sites.
        """
        from vrm_async import validation

        return (await self._places.facts(validation.whole("site_id", site_id))).calendar

    async def aclose(self) -> None:
        """Close the client's own pool; a shared one stays open. May be called again."""
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
        return f"<VRMClient {self._label or 'without a label'}>"
