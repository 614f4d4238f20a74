"""VoltStorage's server: login, products, statistics, export, WebSocket.

Parameters, answers and most members are those of its document. The document has no paths and no error bodies;
these are guesses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import CUT, OWNER, Handler, Journal, Middleware, abort
from energy_live.simulator.voltstorage.accounts import LONGEST_VALIDITY_S, Owner, VoltAccounts
from energy_live.simulator.voltstorage.events import ProductEvents
from energy_live.simulator.voltstorage.export import ExportRequest, columns
from energy_live.simulator.voltstorage.products import Product, ProductFilter, event_fields, ordered
from energy_live.simulator.voltstorage.statistics import TIMESPANS, statistics

BASE: Final = "/rest/"
_DAY_S: Final = 86_400
_CHUNK: Final = 400


class VoltRefusal(Exception):
    """Makes the server answer with an error status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class VoltServer:
    """Handlers of all paths below `/rest/`."""

    def __init__(
        self,
        timeline: Timeline,
        accounts: VoltAccounts,
        products: Sequence[Product],
        journal: Journal,
        events: ProductEvents,
        *,
        export_step_s: int = 1,
    ) -> None:
        self.accounts = accounts
        self.products = {product.id: product for product in products}
        self.events = events
        self._timeline = timeline
        self._journal = journal
        self._export_step_s = export_step_s

    def application(self) -> web.Application:
        """Return the application with all routes and the authentication."""
        app = web.Application(middlewares=[self._authentication()])
        app.router.add_post("/rest/login/password", self._login)
        app.router.add_get("/rest/products", self._list, allow_head=False)
        app.router.add_get("/rest/products/events", self._follow, allow_head=False)
        app.router.add_get("/rest/products/{product:[0-9]+}/data/latest", self._latest, allow_head=False)
        app.router.add_get("/rest/data/statistics", self._statistics, allow_head=False)
        app.router.add_get("/rest/data/export.csv", self._export, allow_head=False)
        app.router.add_get("/rest/data/export.json", self._export, allow_head=False)
        app.on_shutdown.append(self._close_events)
        return app

    async def _close_events(self, _app: web.Application) -> None:
        self.events.close_all()

    def _authentication(self) -> Middleware:
        @web.middleware
        async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                if request.path != "/rest/login/password":
                    request[OWNER] = self._owner(request)
                return await handler(request)
            except VoltRefusal as refusal:
                return answer({"errors": [str(refusal)]}, refusal.status)
            except web.HTTPException as error:
                return answer({"errors": [error.reason]}, error.status)

        return authenticate

    def _owner(self, request: web.Request) -> Owner:
        header = request.headers.get("Authorization", "")
        token = (
            header.removeprefix("Bearer ") if header.startswith("Bearer ") else request.query.get("token", "")
        )
        if not token:
            raise VoltRefusal(401, "No authorization token was provided.")
        owner = self.accounts.owner(token)
        if owner is None:
            raise VoltRefusal(401, "The authorization token is invalid or expired.")
        return owner

    async def _login(self, request: web.Request) -> web.Response:
        try:
            sent = json.loads(await request.read())
            email, password, validity = sent["email"], sent["password"], sent.get("validity", _DAY_S)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise VoltRefusal(400, "The parameters email and password are required.") from None
        if (
            isinstance(validity, bool)
            or not isinstance(validity, int | float)
            or not 0 <= validity <= LONGEST_VALIDITY_S
        ):
            raise VoltRefusal(400, f"validity must be between 0 and {LONGEST_VALIDITY_S}.")
        owner = self.accounts.find(str(email), str(password))
        if owner is None:
            self._journal.count("failed_logins")
            raise VoltRefusal(400, "Invalid e-mail address or password.")
        self._journal.count("logins")
        return answer({"token": self.accounts.issue(owner, validity)})

    async def _list(self, request: web.Request) -> web.Response:
        mine = [product for product in self.products.values() if product.owner == request[OWNER].id]
        installed = request.query.get("installationDate")
        wanted = ProductFilter(
            text=request.query.get("q"),
            group=integer(request, "groupId"),
            owner=integer(request, "ownerId"),
            installed=None if installed is None else boolean("installationDate", installed),
            ids=integers(request, "ids"),
        )
        found = [product.record() for product in mine if wanted.matches(product)]
        keys = [key for key in request.query.get("sort", "").split(",") if key]
        if found and (unknown := [key for key in keys if key.removeprefix("-") not in found[0]]):
            raise VoltRefusal(400, f"Products have no field {unknown[0].removeprefix('-')!r} to sort by.")
        found = ordered(found, keys)
        count, page = integer(request, "count", least=1), integer(request, "page", least=1) or 1
        if count is not None:
            found = found[(page - 1) * count : page * count]
        elif page > 1:
            found = []
        return answer(found)

    def _product(self, request: web.Request, number: int | None, name: str = "productId") -> Product:
        if number is None:
            raise VoltRefusal(400, f"The parameter {name} is required.")
        product = self.products.get(number)
        # Unknown products are refused like those of other users.
        if product is None or product.owner != request[OWNER].id:
            raise VoltRefusal(403, "You lack the permission to read this product.")
        return product

    async def _latest(self, request: web.Request) -> web.Response:
        product = self._product(request, int(request.match_info["product"]))
        now = self._timeline.now()
        second = product.last_at(now)
        empty = second < product.first_at
        data = {} if empty else event_fields(product.household.at(second))
        if boolean("includeTime", request.query.get("includeTime", "false")):
            return answer({"time": None if empty else int(second), "data": data})
        return answer(data)

    async def _statistics(self, request: web.Request) -> web.Response:
        product = self._product(request, integer(request, "productId"))
        timespan = request.query.get("timespan", "day")
        if timespan not in TIMESPANS:
            raise VoltRefusal(400, f"timespan must be one of {', '.join(TIMESPANS)}.")
        now = self._timeline.now()
        end = integer(request, "tend")
        start = integer(request, "tstart")
        begin = product.first_at if start is None else float(start)
        if math.isinf(product.first_at):
            return answer([])
        return answer(statistics(product, timespan, begin, now if end is None else float(end), now))

    async def _export(self, request: web.Request) -> web.StreamResponse:
        extract = self._extract(request)
        as_csv = request.path.endswith(".csv")
        response = web.StreamResponse()
        response.content_type = "text/csv" if as_csv else "application/json"
        response.charset = "utf-8"
        await response.prepare(request)
        with suppress(ConnectionError):  # the client may leave early
            await self._stream(request, response, extract.csv() if as_csv else extract.json())
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, parts: Iterable[str]) -> None:
        cut = request.get(CUT)
        buffer: list[str] = []
        for part in parts:
            buffer.append(part)
            if len(buffer) == _CHUNK:
                if cut is not None:
                    break
                await response.write("".join(buffer).encode())
                buffer.clear()
                await self._timeline.clock.sleep(0.0)  # let other requests run
        text = "".join(buffer)
        if cut is not None:
            text = text[: int(len(text) * cut.keep)]
        await response.write(text.encode())
        if cut is not None and not cut.valid_length:
            await self._timeline.clock.sleep(0.01)
            abort(request)
            return
        await response.write_eof()

    def _extract(self, request: web.Request) -> ExportRequest:
        product_id, component_id = integer(request, "productId"), integer(request, "componentId")
        if (product_id is None) == (component_id is None):
            raise VoltRefusal(400, "Either productId or componentId must be provided.")
        product = self._product(request, component_id // 10 if component_id is not None else product_id)
        now = self._timeline.now()
        start, end = number(request, "from"), number(request, "to")
        if start is None:
            raise VoltRefusal(400, "The parameter from is required.")
        if start > now:
            raise VoltRefusal(400, "The parameter from must not lie in the future.")
        if end is not None and end < start:
            raise VoltRefusal(400, "The parameter to must not lie before from.")
        fields = tuple(name for name in request.query.get("fields", "").split(",") if name) or columns(start)
        if unknown := [name for name in fields if name not in columns(math.inf)]:
            raise VoltRefusal(400, f"There is no field {unknown[0]!r}.")
        separator = request.query.get("separator", ",")
        return ExportRequest(
            product=product,
            start=start,
            end=min(product.last_at(now), now if end is None else end),
            fields=fields,
            tz_minutes=integer(request, "tz") or 0,
            precision=integer(request, "precision", least=1) or 6,
            tolerance=number(request, "tolerance") or 0.0,
            separator=separator,
            mixed_separators=self.events.faults.separator_fault and separator != ",",
            step_s=self._export_step_s,
        )

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        if "token" not in request.query and "Authorization" not in request.headers:
            raise VoltRefusal(401, "No authorization token was provided.")
        product = self._product(request, integer(request, "productId"))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise VoltRefusal(400, "This is a WebSocket.")
        return await self.events.follow(request, product)


def answer(content: object, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(
        text=json.dumps(content, separators=(",", ":")), status=status, content_type="application/json"
    )


def integer(request: web.Request, name: str, *, least: int | None = None) -> int | None:
    """Return an integer parameter, or None without it."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must be an integer.") from None
    if least is not None and number < least:
        raise VoltRefusal(400, f"The parameter {name} must be at least {least}.")
    return number


def number(request: web.Request, name: str) -> float | None:
    """Return a finite number, or None without the parameter."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must be a number.") from None
    if not math.isfinite(number):
        raise VoltRefusal(400, f"The parameter {name} must be a number.")
    return number


def boolean(name: str, text: str) -> bool:
    """Parse a boolean parameter."""
    if text.lower() not in {"true", "false", "1", "0"}:
        raise VoltRefusal(400, f"The parameter {name} must be true or false.")
    return text.lower() in {"true", "1"}


def integers(request: web.Request, name: str) -> frozenset[int]:
    """Return a list of integers: repeated, with brackets, or separated by commas.

    The document does not specify which.
    """
    texts = request.query.getall(name, []) + request.query.getall(f"{name}[]", [])
    try:
        return frozenset(int(part) for text in texts for part in text.split(","))
    except ValueError:
        raise VoltRefusal(400, f"The parameter {name} must hold integers.") from None
