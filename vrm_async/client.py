"""VRMClient: the door to VRM."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from energy_core.http.api import ApiClient
from energy_core.http.drift import Drift
from energy_core.http.lane import RateLimit
from energy_core.http.pool import SessionPool
from energy_core.http.request import JSON, MIB, Priority
from energy_core.http.request import base_url as parse_base_url
from energy_core.lazy import preloaded
from energy_core.printable import printable
from energy_core.stream.detail import account_label
from vrm_async import auth
from vrm_async.envelope import check
from vrm_async.groups import Resources
from vrm_async.identity import credentials as checked_means

if TYPE_CHECKING:
    from energy_core.stream.poll import LookbackConfig, Poller
    from vrm_async import raw
    from vrm_async.periods import Calendar

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

    def live(self, *site_ids: int, interval_s: float = 60.0, looking: LookbackConfig | None = None) -> Poller:
        """Return a source of readings for `merge`: of these sites, or of every site of the account.

        Args:
            site_ids: The sites; one request an interval serves them all.
            interval_s: Seconds from one request to the next; devices log every minute at the most.
            looking: When and how far each device is looked back at, which takes a request a device.
        """
        from vrm_async import source  # noqa: PLC0415

        return source.live(
            self._api,
            self.users,
            site_ids,
            account=self._label,
            interval_s=interval_s,
            looking=looking,
            owner=self._account.owner if self._label else "",  # a user id is one user, whatever the token
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: raw.Query = (),
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
        from vrm_async import raw  # noqa: PLC0415

        operation = raw.operation(method, path, repeatable=repeatable, body_limit=body_limit)
        pairs = raw.pairs(query)
        return await self._api.call(operation, raw.as_it_is, query=pairs, json=json, priority=priority)

    async def calendar(self, site_id: int) -> Calendar:
        """Return the calendar of a site's own time zone: "yesterday", "this month", midnight to midnight.

        The list of installations is asked once for all sites.
        """
        from vrm_async import arguments  # noqa: PLC0415

        return (await self._places.facts(arguments.whole("site_id", site_id))).calendar

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
