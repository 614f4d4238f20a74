"""VRM's server: routes, rate limit, login, and the handlers of users and access tokens.

`users/me` and the list of sites follow captured answers; `evidence` lists the source of each route.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import CALLER, Handler, Journal, Middleware
from energy_live.simulator.vrm.access import SiteAccess
from energy_live.simulator.vrm.accounts import DEMO_USER, Caller, User, VrmAccounts
from energy_live.simulator.vrm.alarms import Alarms
from energy_live.simulator.vrm.downloads import Downloads
from energy_live.simulator.vrm.dynamic_ess import DynamicEss
from energy_live.simulator.vrm.fleet import Fleet
from energy_live.simulator.vrm.installations import Installations
from energy_live.simulator.vrm.rate_limit import RollingWindow
from energy_live.simulator.vrm.request_checks import VrmRefusal, answer, body, integer
from energy_live.simulator.vrm.serializers import Json, installation
from energy_live.simulator.vrm.settings import SiteSettings
from energy_live.simulator.vrm.users import USER, UserSites

BASE: Final = "/v2/"
ANYONE: Final = "anyone"
"""Key of the rate limit of requests without a valid token."""

_OPEN: Final = frozenset({"auth/login", "auth/loginAsDemo"})


class VrmServer:
    """Handlers of all paths below `/v2/`."""

    def __init__(
        self,
        timeline: Timeline,
        accounts: VrmAccounts,
        installations: Installations,
        journal: Journal,
        window: Callable[[], RollingWindow],
    ) -> None:
        self.accounts = accounts
        self.installations = installations
        self.windows: dict[str, RollingWindow] = {}
        self._timeline = timeline
        self._journal = journal
        self._window = window

    def application(self, *, logout: str = "POST") -> web.Application:
        """Return the application with all routes, the rate limit and the authentication.

        Args:
            logout: HTTP method of `auth/logout`; others are answered 405. VRM's documents differ.
        """
        app = web.Application(middlewares=[self._middleware()])
        which = r"{which:[0-9]+|\*}"
        routes: list[tuple[str, str, Handler]] = [
            ("POST", "/v2/auth/login", self._login),
            ("GET", "/v2/auth/loginAsDemo", self._login_as_demo),
            (logout, "/v2/auth/logout", self._logout),
            ("GET", "/v2/users/me", self._me),
            ("GET", f"{USER}/installations", self._list),
            # No document has a POST request for this path.
            ("GET", f"{USER}/accesstokens", self._list_tokens),
            ("DELETE", f"{USER}/accesstokens/{which}", self._revoke_token),
            ("POST", f"{USER}/accesstokens/create", self._create_token),
            ("GET", f"{USER}/accesstokens/list", self._list_tokens),
            ("GET", f"{USER}/accesstokens/{which}/revoke", self._revoke_token),
            *UserSites(self.installations, self._caller).routes(),
            *Alarms(self._timeline, self.installations, self.accounts).routes(),
            *SiteAccess(self._timeline, self.installations, self.accounts).routes(),
            *SiteSettings(self.installations).routes(),
            *DynamicEss(self._timeline, self.installations).routes(),
            *Fleet(self._timeline, self.installations).routes(),
            *Downloads(self._timeline, self.installations).routes(),
            *self.installations.routes(),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        return app

    def limiter(self, key: str = ANYONE) -> RollingWindow:
        """Return the rate limit of one account (`user/<id>`), or of all requests without a token."""
        if key not in self.windows:
            self.windows[key] = self._window()
        return self.windows[key]

    def _middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self._admit(request)
                return await handler(request)
            except VrmRefusal as refusal:
                return answer(refusal.envelope, refusal.status, refusal.headers)
            except web.HTTPException as error:
                if error.status == 405:
                    unknown = VrmRefusal(405, "method_not_allowed", error.reason)
                else:
                    unknown = VrmRefusal(error.status, "not_found", error.reason)
                return answer(unknown.envelope, unknown.status)

        return admit

    def _admit(self, request: web.Request) -> None:
        path = request.path.removeprefix(BASE)
        caller = self.accounts.caller(request.headers.get("X-Authorization", ""))
        # The limit counts before authentication, so that requests with a wrong token count too.
        window = self.limiter(ANYONE if caller is None else f"user/{caller.user.id}")
        wait = window.admit(self._timeline.clock.monotonic())
        if wait is not None:
            self._journal.count("limited")
            seconds = max(1, math.ceil(wait))
            raise VrmRefusal(429, None, "Too many requests", retry_after=seconds)
        if caller is not None:
            request[CALLER] = caller
        elif path not in _OPEN:
            raise VrmRefusal(401, "unauthorized", "Token is invalid or missing")

    async def _login(self, request: web.Request) -> web.Response:
        sent = await body(request)
        name, password, code = (sent.get(key) for key in ("username", "password", "sms_token"))
        if not isinstance(name, str) or not isinstance(password, str):
            raise VrmRefusal(400, "missing_parameters", {"username": "Required", "password": "Required"})
        user = self.accounts.find(name, password)
        if user is None:
            self._journal.count("failed_logins")
            raise VrmRefusal(401, "invalid_credentials", {"username": "The credentials are not valid"})
        if not user.sms:
            return self._logged_in(user, "password")
        if code is None or code == "":
            self.accounts.send_code(user)
            pending: Json = {
                "token": None,
                "idUser": user.id,
                "verification_mode": "sms",
                "verification_sent": True,
            }
            return answer(pending)
        if not self.accounts.use_code(user, str(code)):
            self._journal.count("failed_logins")
            raise VrmRefusal(401, "invalid_sms_token", {"sms_token": "The code is not valid"})
        return self._logged_in(user, "sms")

    def _logged_in(self, user: User, mode: str) -> web.Response:
        self._journal.count("logins")
        token = self.accounts.issue(user)
        granted: Json = {
            "token": token,
            "idUser": user.id,
            "verification_mode": mode,
            "verification_sent": False,
        }
        return answer(granted)

    async def _login_as_demo(self, _request: web.Request) -> web.Response:
        self._journal.count("logins")
        return answer({"token": self.accounts.issue(self.accounts.users[DEMO_USER])})

    async def _logout(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("X-Authorization", "").partition(" ")
        if scheme == "Bearer":
            self.accounts.revoke_bearer(token)
        return answer({"token": token})

    async def _me(self, request: web.Request) -> web.Response:
        caller = request[CALLER]
        user: Json = {
            "id": caller.user.id,
            "name": caller.user.name,
            "email": caller.user.email,
            "country": caller.user.country,
            "idAccessToken": None if caller.token is None else caller.token.id,
            "accessLevel": 0 if caller.user.id == DEMO_USER else 1,
        }
        return answer({"success": True, "user": user})

    def _caller(self, request: web.Request, *, demo: bool = True) -> Caller:
        caller = request[CALLER]
        user = request.match_info["user"]
        if user not in {"me", str(caller.user.id)} or (caller.user.id == DEMO_USER and not demo):
            raise VrmRefusal(403, "forbidden", "You have no access to this user")
        return caller

    async def _list(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        only, full = integer(request, "idSite"), integer(request, "extended") == 1
        now = self._timeline.now()
        listed = [
            installation(site, now, full=full, alarms=self.installations.raised.active(site, now))
            | self.installations.settings.get(site.id, {})
            for site in self.installations.of(caller.user)
            if only in {None, site.id}
        ]
        return answer({"success": True, "records": listed})

    async def _create_token(self, request: web.Request) -> web.Response:
        caller = self._caller(request, demo=False)
        sent = await body(request)
        name, expiry = sent.get("name"), sent.get("expiry")
        if not isinstance(name, str) or not name:
            raise VrmRefusal(400, "missing_parameters", {"name": "Required"})
        token = self.accounts.create(caller.user, name, expiry if isinstance(expiry, int) else None)
        if token is None:
            raise VrmRefusal(400, "token_name_exists", {"name": "A token of this name exists"})
        return answer({"success": True, "token": token.value, "idAccessToken": token.id})

    async def _list_tokens(self, request: web.Request) -> web.Response:
        caller = self._caller(request, demo=False)
        listed = [
            {
                "name": token.name,
                # VRM sends these numbers as strings, as its older text shows.
                "idAccessToken": str(token.id),
                "createdOn": str(token.created),
                "scope": "FULL_ACCESS",
                "expires": token.expires,
                "last_seen": None,
                "last_successful_auth": None,
            }
            for token in self.accounts.of(caller.user)
        ]
        return answer({"success": True, "tokens": listed})

    async def _revoke_token(self, request: web.Request) -> web.Response:
        caller = self._caller(request, demo=False)
        removed = self.accounts.revoke(caller.user, request.match_info["which"])
        if not removed:
            raise VrmRefusal(404, "not_found", "There is no such token")
        return answer({"success": True, "data": {"removed": removed}})
