"""One call: its tries in turn, each on its way through the lane to the wire, until the outcome is final."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from attrs import field, frozen

from energy_core.clock import Clock
from energy_core.errors import (
    AuthFailed,
    EnergyError,
    RateLimited,
    RequestError,
    TransportError,
    UnexpectedRedirect,
)
from energy_core.http.credential import Credential, Issued
from energy_core.http.flight import Flight
from energy_core.http.lane import Lane
from energy_core.http.request import BaseUrl, Request, Response
from energy_core.http.retrying import Effort, Head, read_head
from energy_core.http.transport import Passage, Reply, Signature, Transport
from energy_core.retry import RetryBudget

_log: Final = logging.getLogger("energy_core.http")

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class Account:
    """What all clients of one account at one origin share."""

    origin: str
    name: str
    lane: Lane
    credential: Credential
    budget: RetryBudget


@frozen
class _Answer(Generic[T]):
    """What one try brought, when it brought an answer."""

    head: Head
    result: T | None = field(repr=False)


class Call:
    """A request on its way: it is sent, reacts to being throttled or refused, and says what its end means."""

    def __init__(
        self,
        request: Request,
        account: Account,
        base: BaseUrl,
        *,
        effort: Effort,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self._trusted = base.origin == account.origin
        if request.operation.authenticated and not self._trusted:
            raise ValueError("the base URL leads to another origin than the one the credential belongs to")
        self.effort = effort
        self._request = request
        self._account = account
        self._transport = transport
        self._clock = clock
        self._url = base.join(request.path, request.query)
        self._issued: Issued | None = None
        self._renewed = False
        self._sent_at = 0.0

    async def run(self, flight: Flight, deliver: Deliver[T]) -> T:
        """Try until the outcome is final, then return it or raise it."""
        while True:
            outcome = await self._try(flight, deliver)
            pause = await self._pause_after(outcome)
            if pause is None:
                return self._settled(outcome)
            self.effort.spent_s += pause
            await self._clock.sleep(pause)

    async def _try(self, flight: Flight, deliver: Deliver[T]) -> _Answer[T] | EnergyError:
        self.effort.tries += 1
        try:
            reply = await self._transport.exchange(
                self._passage(flight), limit=self._request.operation.body_limit
            )
            if isinstance(reply, EnergyError):
                return reply
            return await self._answer(reply, deliver)
        except EnergyError as error:
            return error.with_traceback(None)
        finally:
            self.effort.spent_s += flight.land()

    async def _answer(self, reply: Reply, deliver: Deliver[T]) -> _Answer[T]:
        head = read_head(reply.status, reply.headers, now=self._clock.utcnow())
        self._log_answer(head)
        if head.throttling:
            self._account.lane.throttled(self._sent_at, head.retry_after)
        try:
            if not head.readable:
                reply.close()
                return _Answer(head, None)
            response = Response(
                status=head.status, headers=reply.headers, body=b"", attempts=max(1, self.effort.sends)
            )
            return _Answer(head, await deliver(self, reply, response))
        except BaseException as error:
            reply.close()
            if isinstance(error, RequestError):
                error.status = head.status
            raise

    def _passage(self, flight: Flight) -> Passage:
        def off() -> None:
            self._sent_at = self._clock.monotonic()
            self.effort.sends += 1
            flight.take_off(self.effort.left_s)

        return Passage(
            self._request,
            self._url,
            trusted=self._trusted,
            turn=lambda: self._account.lane.turn(self._request.priority),
            sign=self._sign,
            on_turn=off,
        )

    async def _sign(self) -> Signature | None:
        if not self._request.operation.authenticated:
            return None
        self._issued = await self._account.credential.get()
        return self._issued.grant

    async def _pause_after(self, outcome: _Answer[T] | EnergyError) -> float | None:
        head = outcome.head if isinstance(outcome, _Answer) else outcome
        if isinstance(head, EnergyError) or head.status != 401 or self._issued is None or self._renewed:
            return self.effort.pause_after(head)
        self._renewed = True
        try:
            await self._account.credential.renew(self._issued.generation)
        except EnergyError as error:
            failure = error.with_traceback(None)
        else:
            self.effort.tries -= 1  # the replay is the same try with a valid credential
            return 0.0
        if isinstance(failure, AuthFailed) and failure.status is None:
            failure.status = 401
        raise self.effort.final(failure)

    def _settled(self, outcome: _Answer[T] | EnergyError) -> T:
        if isinstance(outcome, EnergyError):
            raise self.effort.final(outcome)
        status = outcome.head.status
        if status == 429:
            raise self._failed(RateLimited("too many requests", retry_after=outcome.head.retry_after), status)
        if status == 401 and self._renewed:
            raise self._failed(AuthFailed("a renewed credential was refused too"), status)
        if outcome.result is None:
            raise self._failed(_unreadable(status), status)
        return outcome.result

    def _failed(self, error: RequestError, status: int) -> EnergyError:
        error.status = status
        return self.effort.final(error)

    def _log_answer(self, head: Head) -> None:
        asked = self._request.operation
        _log.debug("%s %s: %s %s -> %d", asked.vendor, asked.name, asked.method, asked.path, head.status)


def _unreadable(status: int) -> RequestError:
    if 300 <= status <= 399:
        return UnexpectedRedirect("the server points elsewhere; redirects are not followed")
    return TransportError("the server changed to another protocol")


Deliver = Callable[[Call, Reply, Response], Awaitable[T]]
"""Turns a reply whose body is still unread, and the response it belongs to, into the call's result."""
