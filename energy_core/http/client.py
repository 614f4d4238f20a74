"""ApiClient: an operation and its arguments become a model, or one typed error that says what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, TypeVar

from attrs import evolve

from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.json import JSON, decode_typed, strict_json
from energy_core.codec.json_limits import LARGE
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    DecodeError,
    EnergyError,
    NotFound,
    PermissionDenied,
    RequestError,
    ServerFault,
)
from energy_core.http.call import ServiceAccount
from energy_core.http.operation import MIB, Operation, Priority, Query, Request, Response
from energy_core.http.pool import SessionPool
from energy_core.http.response import Download
from energy_core.http.retry_policy import with_context
from energy_core.http.words import words_of_text
from energy_core.printable import printable
from energy_core.retry import RetryBudget
from energy_core.secret import MASK
from energy_core.url import BaseUrl

Check = Callable[[Response, JSON, Operation], None]
"""A vendor's envelope rule: raises an `AnswerError` (or an `AuthError`) when the answer is a refusal."""

T = TypeVar("T")

_REFUSALS: Final[dict[int, type[RequestError]]] = {
    400: BadRequest,
    401: AuthFailed,
    403: PermissionDenied,
    404: NotFound,
    408: ServerFault,
    422: BadRequest,
    425: ServerFault,
}


class ApiClient:
    """Asks one vendor in the name of one account.

    Args:
        pool: sends.
        account: whose lane and credential to use.
        base: where the vendor's paths begin.
        vendor: its name, for errors.
        check: its envelope rule. What it lets pass and what has no JSON is judged by the status alone.
        strict: raise where the vendor's data differs from its documents, instead of counting it in `drift`.
    """

    def __init__(
        self,
        pool: SessionPool,
        account: ServiceAccount,
        base: BaseUrl,
        *,
        vendor: str,
        check: Check | None = None,
        strict: bool = False,
    ) -> None:
        self.vendor = vendor
        self.account = account
        self.base = base
        self.drift = Drift(strict=strict)
        self._pool = pool
        self._check = check
        self._strict = strict

    @printable
    def __repr__(self) -> str:
        return f"<ApiClient of {self.vendor}, account {self.account.name!r} at {self.base}>"

    async def call(
        self,
        operation: Operation,
        into: Callable[[JSON], T],
        *,
        query: Query = (),
        json: JSON = None,
        priority: Priority | None = None,
        **parts: int | str,
    ) -> T:
        """Send, and structure the JSON answer with `into`. Cancelling is safe.

        Raises:
            RequestError: whatever went wrong; it says vendor, operation, method, path, status and attempts.
            ClientClosed, WrongLoop: the pool is not usable here.
            ValueError, TypeError: a part of the path or of the query cannot be sent.
        """
        request = operation.asked(query, json, priority, parts)
        del json  # reporters print the local variables of a traceback, and this may be a login
        response = await self._pool.send(request, self.account, self.base)
        try:
            if len(response.body) <= MIB:
                return self._understand(response, operation, into)
            return await asyncio.to_thread(self._understand, response, operation, into)
        except DecodeError as error:
            if not self._worth_asking_again(error, response, operation):
                raise
        # An HTML page with status 200 is a proxy's doing and often gone a moment later.
        try:
            again = await self._pool.send(request, self.account, self.base)
        except RequestError as error:
            if error.operation == operation.name and error.attempts is not None:  # and not a login's
                error.attempts += response.attempts
            raise
        again = evolve(again, attempts=response.attempts + again.attempts)
        return await asyncio.to_thread(self._understand, again, operation, into)

    def open(
        self,
        operation: Operation,
        *,
        query: Query = (),
        json: JSON = None,
        priority: Priority | None = None,
        **parts: int | str,
    ) -> AbstractAsyncContextManager[Download]:
        """Send, and hand out the body while it arrives: `async with client.open(...) as download`.

        Entering raises like `call`. Whoever leaves the block early gives up the rest of the body.
        """
        request = operation.asked(query, json, priority, parts)
        del json  # reporters print the local variables of a traceback, and this may be a login
        return _Opening(self, request)

    async def begin(self, request: Request) -> Download:
        """Do what entering `open` does; the caller owes the download a `close()`."""
        download = await self._pool.begin(request, self.account, self.base)
        status = download.response.status
        if _is_answer(status, request.operation):
            return download
        if 200 <= status <= 299:  # its body may be of any size, and is not what was asked for
            download.close()
            response = download.response
        else:
            response = evolve(download.response, body=await download.read())
        raise self._refusal(response, request.operation)

    def _understand(self, response: Response, operation: Operation, into: Callable[[JSON], T]) -> T:
        if not _is_answer(response.status, operation):
            raise self._refusal(response, operation)
        try:
            with collect_drift(self.drift):
                made = None if self._strict else decode_typed(into, response.body)
                return into(self._checked(response, operation)) if made is None else made
        except RequestError as error:
            failure = error
        if not isinstance(failure, DecodeError):
            failure.form = "json"
        raise self._explained(failure, response, operation)

    def _checked(self, response: Response, operation: Operation) -> JSON:
        if response.status == 204:
            return {"success": True}  # all that it says
        answer = strict_json(response.body, content_type=response.content_type, strict=self._strict)
        try:
            if self._check is not None:
                self._check(response, answer, operation)
        except RequestError as error:
            refusal = error
        else:
            return answer
        self._check_masked(response, answer, operation)
        raise refusal

    def _check_masked(self, response: Response, answer: JSON, operation: Operation) -> None:
        """Raise the vendor's refusal: its words may repeat a credential, and are cut after that is masked."""
        if self._check is not None:
            self._check(response, _Masking(self.account.credential.hide).answer(answer), operation)

    def refuse(self, response: Response, operation: Operation) -> None:
        """Raise what a whole answer says, if it is a refusal. No frame of the traceback holds the answer."""
        try:
            self._checked(response, operation)
        except RequestError as error:
            failure = error
        else:
            return
        raise self._explained(failure, response, operation)

    def _refusal(self, response: Response, operation: Operation) -> EnergyError:
        """Return what an answer says that is none: by the vendor's envelope, or else by its status."""
        answered = 200 <= response.status <= 299
        said = operation.quote(self._words(response))
        what = "the server sent no complete answer" if answered else "the server refused"
        error = _by_status(response.status)(f"{what}: {said!r}" if said else what)
        error.words = said
        try:
            answer = strict_json(response.body, content_type=response.content_type)
            error.form = "json"
            self._check_masked(response, answer, operation)
        except DecodeError as unread:
            error.form = unread.kind if unread.kind in {"html", "empty"} else "text"
        except RequestError as refusal:
            error, error.form = refusal, "json"
        return self._explained(error, response, operation)

    def _words(self, response: Response) -> str:
        text = response.body[:LARGE].decode(errors="replace")
        return words_of_text(self.account.credential.hide(text).encode(), response.content_type)

    def _explained(self, error: RequestError, response: Response, operation: Operation) -> EnergyError:
        """Add the facts of the call, and mask what any part of the error repeats of a credential."""
        hide = self.account.credential.hide
        error.message, error.words = hide(error.message), hide(error.words)
        error.args = (error.message, *error.args[1:])
        if error.error_code is not None:
            error.error_code = hide(error.error_code)
        if isinstance(error, DecodeError) and error.content_type is not None:
            error.content_type = hide(response.content_type)[:100]
        explained = with_context(error, operation, attempts=response.attempts, status=response.status)
        return explained.with_traceback(None)

    def _worth_asking_again(self, error: DecodeError, response: Response, operation: Operation) -> bool:
        html = error.kind == "html" and 200 <= response.status <= 299
        # The second request pays in like a call of its own.
        cost = 1.0 + RetryBudget.SHARE
        return html and operation.repeatable and self.account.budget.withdraw(cost)


class _Opening:
    """`async with client.open(...)`: a class, so that nothing is left suspended when it is never left."""

    def __init__(self, client: ApiClient, request: Request) -> None:
        self._client = client
        self._request = request
        self._download: Download | None = None

    async def __aenter__(self) -> Download:
        self._download = await self._client.begin(self._request)
        return self._download

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._download is not None:
            self._download.close()


def _is_answer(status: int, operation: Operation) -> bool:
    """Whether the body of an answer with this status is what the operation asked for.

    A 203 is a 200 that a proxy has changed. What a server was sent it may create (201), accept (202) or do
    (204); a GET sends nothing. The body of a 206 is a part, and no part was asked for.
    """
    return status in {200, 203} or (status in {201, 202, 204} and operation.method != "GET")


def _by_status(status: int) -> type[RequestError]:
    return _REFUSALS.get(status, ServerFault if status >= 500 else AnswerError)


_MOST_KEYS: Final = 100
"""An object that says no has fewer."""


class _Masking:
    """Masks the texts of a refusal up to a total length; what comes after them is ``***`` altogether."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._hide = hide
        self._left = LARGE

    def answer(self, answer: JSON) -> JSON:
        """Return an answer with all its texts masked, its own before those of lists and objects in it."""
        if not isinstance(answer, dict) or len(answer) > _MOST_KEYS:
            return self.of(answer)
        own = {key: self.of(value) for key, value in answer.items() if not isinstance(value, list | dict)}
        return {self._hide(key): own[key] if key in own else self.of(answer[key]) for key in answer}

    def of(self, value: JSON) -> JSON:
        """Return a JSON value with all its texts masked."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {self._text(key): self.of(item) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        self._left -= len(text) + 16
        return self._hide(text) if self._left >= 0 else MASK
