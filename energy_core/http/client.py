"""ApiClient: sends an operation and returns a model, or raises one typed error with its context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

from energy_core.codec.drift import CURRENT_DRIFT, Drift
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
from energy_core.http.refusal import refusal_message_of_text
from energy_core.http.response import Download, OpenDownload
from energy_core.http.retry_policy import RetryBudget, with_context
from energy_core.printable import printable
from energy_core.secret import MASK
from energy_core.url import BaseUrl

Check = Callable[[Response, JSON, Operation], None]
"""A vendor's envelope rule: raises an `AnswerError` or `AuthError` if the answer is a refusal."""

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
    """The API of one vendor with one account.

    Args:
        pool: Sends the requests.
        account: The rate limiter and credential to use.
        base: The vendor's base URL.
        vendor: The vendor's name, for errors.
        check: The vendor's envelope rule. An answer that it accepts, or without JSON, is judged by its
            status.
        strict: Raise where the vendor's data differs from its documentation, instead of counting it in
            `drift`.
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
        self.pool = pool
        self.check = check
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
        """Send, and return the JSON answer as `into` structures it. Cancelling is safe.

        Args:
            operation: What to ask.
            into: Turns the JSON into a model. Large answers are structured in a thread.
            query: Names and values.
            json: The body of the request; None sends none.
            priority: Instead of the operation's own.
            parts: The values of the path's placeholders.

        Raises:
            RequestError: any failure, with vendor, operation, method, path, status and attempts.
            ClientClosed, WrongLoop: the pool cannot be used here.
            ValueError, TypeError: an argument cannot be sent.
        """
        request = operation.request(query=query, json=json, priority=priority, **parts)
        del json  # error reporters print local variables, and this may be a login
        response = await self.pool.send(request, self.account, self.base)
        try:
            if len(response.body) <= MIB:
                return self.decode(response, operation, into)
            # A large body would block the event loop for too long.
            return await asyncio.to_thread(self.decode, response, operation, into)
        except DecodeError as error:
            if not self._may_be_a_proxy_page(error, response, operation):
                raise
        # An HTML page with status 200 comes from a proxy, and a second request often succeeds.
        try:
            again = await self.pool.send(request, self.account, self.base)
        except RequestError as error:
            if error.operation == operation.name and error.attempts is not None:
                error.attempts += response.attempts
            raise
        again = again._replace(attempts=response.attempts + again.attempts)
        return await asyncio.to_thread(self.decode, again, operation, into)

    def open(
        self,
        operation: Operation,
        *,
        query: Query = (),
        json: JSON = None,
        priority: Priority | None = None,
        **parts: int | str,
    ) -> AbstractAsyncContextManager[Download]:
        """Send, and read the body while it arrives: `async with client.open(...) as download`.

        Entering raises like `call`. Leaving the block early discards the rest of the body.
        """
        request = operation.request(query=query, json=json, priority=priority, **parts)
        del json  # error reporters print local variables, and this may be a login
        return OpenDownload(partial(self.start_download, request))

    async def start_download(self, request: Request) -> Download:
        """Send, and return the open download, which the caller closes. Raises like `call`."""
        download = await self.pool.open(request, self.account, self.base)
        status = download.response.status
        if _is_answer(status, request.operation):
            return download
        if 200 <= status <= 299:  # its body may be of any size, and is not the one that was requested
            download.close()
            response = download.response
        else:
            response = download.response._replace(body=await download.read())
        raise self._refusal(response, request.operation)

    def decode(self, response: Response, operation: Operation, into: Callable[[JSON], T]) -> T:
        """Return a response as `into` structures it; it may be called in a thread.

        Raises:
            RequestError: the response is a refusal or cannot be read, as for `call`.
        """
        if not _is_answer(response.status, operation):
            raise self._refusal(response, operation)
        token = CURRENT_DRIFT.set(self.drift)
        try:
            made = None if self._strict else decode_typed(into, response.body)
            return into(self._checked(response, operation)) if made is None else made
        except RequestError as error:
            failure = error
        finally:
            CURRENT_DRIFT.reset(token)
        if not isinstance(failure, DecodeError):
            failure.body_format = "json"
        raise self._with_context(failure, response, operation)

    def _checked(self, response: Response, operation: Operation) -> JSON:
        if response.status == 204:
            return {"success": True}  # a 204 has no body
        content_type = response.headers.get("content-type", "")
        answer = strict_json(response.body, content_type=content_type, strict=self._strict)
        try:
            if self.check is not None:
                self.check(response, answer, operation)
        except RequestError as error:
            refusal = error
        else:
            return answer
        self._check_masked(response, answer, operation)
        raise refusal

    def _check_masked(self, response: Response, answer: JSON, operation: Operation) -> None:
        """Raise the vendor's refusal, with secrets masked before its message is shortened."""
        if self.check is not None:
            self.check(response, _Masking(self.account.credential.mask).answer(answer), operation)

    def refuse(self, response: Response, operation: Operation) -> None:
        """Raise the error of an answer that is a refusal. No frame of its traceback holds the answer."""
        try:
            self._checked(response, operation)
        except RequestError as error:
            failure = error
        else:
            return
        raise self._with_context(failure, response, operation)

    def _refusal(self, response: Response, operation: Operation) -> EnergyError:
        """Return the error for an unusable status: by the vendor's envelope, or else by the status."""
        answered = 200 <= response.status <= 299
        quoted = operation.quote(self._words(response))
        message = "the server sent no complete answer" if answered else "the server refused"
        error = _error_of_status(response.status)(f"{message}: {quoted!r}" if quoted else message)
        error.vendor_message = quoted
        try:
            answer = strict_json(response.body, content_type=response.content_type)
            error.body_format = "json"
            self._check_masked(response, answer, operation)
        except DecodeError as not_json:
            error.body_format = not_json.kind if not_json.kind in {"html", "empty"} else "text"
        except RequestError as refusal:
            error, error.body_format = refusal, "json"
        return self._with_context(error, response, operation)

    def _words(self, response: Response) -> str:
        text = response.body[:LARGE].decode(errors="replace")
        return refusal_message_of_text(self.account.credential.mask(text).encode(), response.content_type)

    def _with_context(self, error: RequestError, response: Response, operation: Operation) -> EnergyError:
        """Add the context of the call, and mask secrets that the server repeated in any part of the error."""
        hide = self.account.credential.mask
        error.message, error.vendor_message = hide(error.message), hide(error.vendor_message)
        error.args = (error.message, *error.args[1:])
        if error.error_code is not None:
            error.error_code = hide(error.error_code)
        if isinstance(error, DecodeError) and error.content_type is not None:
            error.content_type = hide(response.content_type)[:100]
        final = with_context(error, operation, attempts=response.attempts, status=response.status)
        return final.with_traceback(None)

    def _may_be_a_proxy_page(self, error: DecodeError, response: Response, operation: Operation) -> bool:
        html = error.kind == "html" and 200 <= response.status <= 299
        # The pool counts the second request as a call, which adds a share to the budget.
        cost = 1.0 + RetryBudget.SHARE
        return html and operation.repeatable and self.account.budget.withdraw(cost)


def _is_answer(status: int, operation: Operation) -> bool:
    """Return whether an answer with this status is the result of the operation.

    203 is a 200 changed by a proxy. 201 (created), 202 (accepted) and 204 (no content) are results of writes,
    not of a GET. 206 is a part of a body, which was not requested.
    """
    return status in {200, 203} or (status in {201, 202, 204} and operation.method != "GET")


def _error_of_status(status: int) -> type[RequestError]:
    return _REFUSALS.get(status, ServerFault if status >= 500 else AnswerError)


_MAX_KEYS: Final = 100
"""The JSON object of a refusal has fewer keys."""


class _Masking:
    """Masks secrets in the texts of a refusal. Texts past a total length are replaced by ``***``."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._hide = hide
        self._left = LARGE

    def answer(self, answer: JSON) -> JSON:
        """Return an answer with its texts masked: those of its own keys first, then nested ones."""
        if not isinstance(answer, dict) or len(answer) > _MAX_KEYS:
            return self.of(answer)
        own = {key: self.of(value) for key, value in answer.items() if not isinstance(value, list | dict)}
        return {self._hide(key): own[key] if key in own else self.of(answer[key]) for key in answer}

    def of(self, value: JSON) -> JSON:
        """Return a JSON value with its texts masked."""
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
