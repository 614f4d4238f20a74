"""Every error of the distribution.

A wrong argument is a plain `ValueError` or `TypeError`; all other errors are here::

    EnergyError
    ├── ClientClosed                 the client or pool is closed, or was closed during the call
    ├── WrongLoop                    used from another event loop than the one of its first use
    ├── RequestError                 one operation failed; names the operation and the attempts
    │   ├── AuthError                there is no valid credential
    │   │   ├── AuthFailed           a renewed credential was refused too
    │   │   ├── InvalidCredentials   the login was refused
    │   │   └── TwoFactorRequired    the login requires a one-time code
    │   ├── TransportError           no usable answer arrived
    │   │   ├── ConnectError         no connection (`kind`: dns, refused, unreachable, timeout, tls)
    │   │   │   └── TLSVerificationError   the certificate cannot be trusted; never retried
    │   │   ├── ConnectionLost       the connection broke before the answer was complete
    │   │   ├── DeadlineExceeded     the answer took too long
    │   │   └── OutcomeUnknown       a write that is not idempotent may or may not have happened
    │   ├── RateLimited              429, or (`local=True`) too long a wait in our own queue
    │   ├── UnexpectedRedirect       redirects are never followed
    │   ├── AnswerError              the vendor answered with a refusal (status or envelope)
    │   │   ├── BadRequest           400 or 422
    │   │   ├── PermissionDenied     403
    │   │   ├── NotFound             404
    │   │   ├── ServerFault          5xx, 408 and 425
    │   │   └── NoData               the vendor has no data for this request
    │   └── DecodeError              the answer cannot be read (`kind` is the reason)
    │       └── BodyTooLarge         the answer is larger than the operation allows
    └── StreamError
        ├── StreamBusy               a second consumer of one iterator; use `subscribe()` for several
        ├── StreamClosed             the stream is closed, or was not opened
        ├── SlowConsumer             the buffer stayed full for too long (policy `raise`)
        ├── CheckpointError          a checkpoint cannot be used (`kind` is the reason)
        └── InternalError            an exception in a source's own code
"""

from __future__ import annotations

from typing import TypeVar

R = TypeVar("R", bound="RequestError")


class EnergyError(Exception):
    """The root: `except EnergyError` catches every error of this distribution except wrong arguments."""


class ClientClosed(EnergyError):
    """The client or its pool is closed; open a new one."""


class WrongLoop(EnergyError):
    """An object bound to one event loop was used from another."""


class RequestError(EnergyError):
    """One operation failed.

    Each attribute may be None if it is not known. None of them contains a credential.

    Args:
        message: What failed, in our own words.
        vendor: The vendor's name, such as ``vrm``.
        operation: The operation's name, such as ``stats.get``.
        method: The HTTP method.
        path: The operation's path template, never a URL with its query.
        status: The HTTP status of the response.
        error_code: The vendor's own code of the error.
        attempts: How often the request was sent.
        retry_after: Seconds until the request may be sent again.
    """

    body_format: str | None = None
    """The format of a refusal: json, text, html (such as a proxy's page) or empty; None for other errors."""
    vendor_message: str = ""
    """The vendor's message in a refusal, in the account's language and with secrets masked."""

    def __init__(
        self,
        message: str = "",
        *,
        vendor: str | None = None,
        operation: str | None = None,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        error_code: str | None = None,
        attempts: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.vendor = vendor
        self.operation = operation
        self.method = method
        self.path = path
        self.status = status
        self.error_code = error_code
        self.attempts = attempts
        self.retry_after = retry_after

    def as_kind(self, kind: type[R], message: str) -> R:
        """Return an error of another class with the context of this one."""
        error = kind(message)
        context = ("vendor", "operation", "method", "path", "status", "error_code", "attempts")
        for name in (*context, "body_format", "vendor_message"):
            setattr(error, name, getattr(self, name))
        return error

    def __str__(self) -> str:
        """Return operation, message, status, attempts and retry time in one line."""
        what = " ".join(part for part in (self.vendor, self.operation) if part)
        where = f" ({self.method} {self.path})" if self.method and self.path else ""
        facts = [self.message or type(self).__name__]
        if self.status is not None:
            facts.append(f"status {self.status}")
        if self.error_code:
            facts.append(f"error_code {self.error_code!r}")
        if self.attempts is not None and self.attempts > 1:
            facts.append(f"after {self.attempts} attempts")
        if self.retry_after is not None:
            facts.append(f"may be sent again in {self.retry_after:.1f} s")
        text = ", ".join(facts)
        return f"{what}{where}: {text}" if what else text

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling calls __init__ with the positional arguments only.
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[RequestError], facts: dict[str, object]) -> RequestError:
    error = kind.__new__(kind, facts["message"])
    error.__dict__.update(facts)
    return error


class AuthError(RequestError):
    """There is no valid credential."""


class AuthFailed(AuthError):
    """A renewed or fixed credential was refused."""


class InvalidCredentials(AuthError):
    """The login refused the user name, password or token."""


class TwoFactorRequired(AuthError):
    """The login requires a one-time code; `sent` is True if the vendor has sent one."""

    def __init__(self, message: str = "", *, sent: bool = False, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.sent = sent


class TransportError(RequestError):
    """No usable response arrived."""


class ConnectError(TransportError):
    """No connection could be made; `kind` is one of dns, refused, unreachable, timeout, tls."""

    def __init__(self, message: str = "", *, kind: str = "unreachable", **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.kind = kind


class TLSVerificationError(ConnectError):
    """The server's certificate cannot be trusted. Never retried."""

    def __init__(self, message: str = "", **facts: object) -> None:
        facts.pop("kind", None)
        super().__init__(message, kind="tls", **facts)


class ConnectionLost(TransportError):
    """The connection broke before the response was complete."""


class DeadlineExceeded(TransportError):
    """The response took longer than the operation's total, or than the read timeout."""


class OutcomeUnknown(TransportError):
    """The connection broke during a write that is not idempotent: it may or may not have happened."""


class RateLimited(RequestError):
    """The vendor answered 429, or (`local=True`) the wait in our own queue was too long."""

    def __init__(self, message: str = "", *, local: bool = False, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.local = local


class UnexpectedRedirect(RequestError):
    """The server redirected. Redirects are never followed: they would send the credential along."""


class AnswerError(RequestError):
    """The vendor answered with a refusal, by status or in its envelope."""


class BadRequest(AnswerError):
    """400 or 422: the vendor did not accept the parameters."""


class PermissionDenied(AnswerError):
    """403: the credential is valid, and not allowed to do this."""


class NotFound(AnswerError):
    """404: there is no such thing, or this account may not see it."""


class ServerFault(AnswerError):
    """5xx, 408 or 425: a failure on the vendor's side."""


class NoData(AnswerError):
    """The vendor has no data for this request."""


class DecodeError(RequestError):
    """The answer cannot be read.

    `kind` is one of empty, html, encoding, json, number, depth, containers (too many arrays and objects for
    its size), duplicate_key, shape, envelope, drift, base64, csv, version.
    """

    def __init__(
        self,
        message: str = "",
        *,
        kind: str = "json",
        content_type: str | None = None,
        size: int | None = None,
        **facts: object,
    ) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.kind = kind
        self.content_type = content_type
        self.size = size


class BodyTooLarge(DecodeError):
    """The answer is larger, or expands further, than its operation allows."""


class StreamError(EnergyError):
    """An error of a stream of events."""


class StreamBusy(StreamError):
    """A second consumer used the same iterator."""


class StreamClosed(StreamError):
    """The stream is closed, or was never opened with `async with`."""


class SlowConsumer(StreamError):
    """The buffer stayed full for too long under the `raise` policy."""


class CheckpointError(StreamError):
    """A checkpoint cannot be read, used or written; the message names the file and what to do.

    `kind` is one of corrupt, version (from a newer program), sources (of other sources), unreadable,
    unwritable. `fault` is the reason and `path` the file, if there is one.
    """

    def __init__(self, fault: str = "", *, kind: str = "corrupt", path: str | None = None) -> None:
        super().__init__(fault)
        self.kind = kind
        self.path = path

    @property
    def fault(self) -> str:
        """The reason, with the file."""
        return f"{self.args[0]}: {self.path}" if self.path else str(self.args[0])

    def __str__(self) -> str:
        if self.kind == "unwritable":
            return self.fault
        return f"{self.fault} (merge(..., on_corrupt='latest') starts from now instead)"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep `kind` and `path` in copies."""
        return (type(self), self.args, {"kind": self.kind, "path": self.path})


class InternalError(StreamError):
    """A source failed with an exception in its own code, which is chained and logged once."""
