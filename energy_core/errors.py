"""Every error of the distribution.

A wrong argument in the caller's own code is a plain `ValueError` or `TypeError`; everything else is here::

    EnergyError
    ├── ClientClosed                 the client or pool was closed, or closes while the call waits
    ├── WrongLoop                    used from another event loop than the one it began on
    ├── RequestError                 one operation gave no answer; says which and how often it was tried
    │   ├── AuthError                no valid credential to send
    │   │   ├── AuthFailed           a renewed credential was refused too
    │   │   ├── InvalidCredentials   the login said no
    │   │   └── TwoFactorRequired    the login wants a one-time code
    │   ├── TransportError           no usable answer arrived
    │   │   ├── ConnectError         no connection (`kind`: dns, refused, unreachable, timeout, tls)
    │   │   │   └── TLSVerificationError   the certificate is not to be trusted; never retried
    │   │   ├── ConnectionLost       the connection broke before the answer was whole
    │   │   ├── DeadlineExceeded     the answer took too long
    │   │   └── OutcomeUnknown       an operation that must not be repeated may or may not have happened
    │   ├── RateLimited              the vendor, or our own bounded queue (`local=True`), says: later
    │   ├── UnexpectedRedirect       redirects are never followed
    │   ├── AnswerError              the vendor answered with a refusal (status or envelope)
    │   │   ├── BadRequest           400 or 422
    │   │   ├── PermissionDenied     403
    │   │   ├── NotFound             404
    │   │   ├── ServerFault          5xx, 408 and 425
    │   │   └── NoData               the vendor has nothing for this question
    │   └── DecodeError              the answer cannot be read (`kind` says how)
    │       └── BodyTooLarge         the answer is larger than the operation allows
    └── StreamError
        ├── StreamBusy               a second consumer on one iterator; `subscribe()` is for several
        ├── StreamClosed             the stream was closed or not opened
        ├── SlowConsumer             the `raise` policy: too much pending for too long
        ├── CheckpointError          a checkpoint cannot be used (`kind` says why)
        └── InternalError            a fault in a source's own code
"""

from __future__ import annotations

from typing import TypeVar

R = TypeVar("R", bound="RequestError")


class EnergyError(Exception):
    """The root: `except EnergyError` catches everything this distribution raises on purpose."""


class ClientClosed(EnergyError):
    """The client or its pool is closed; open a new one."""


class WrongLoop(EnergyError):
    """An object bound to one event loop was used from another."""


class RequestError(EnergyError):
    """One operation failed.

    Every fact is an attribute and may be None when it is not known. None of them ever holds a credential, and
    `path` is the template of the operation, never a URL with its query.
    """

    form: str | None = None
    """What a refusal came as: json, text, html (a page, as proxies send it) or empty; None otherwise."""
    words: str = ""
    """The vendor's own words in a refusal, in the account's language and without anything secret."""

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

    def as_a(self, kind: type[R], message: str) -> R:
        """Return an error of another kind that is about the same request and the same answer."""
        error = kind(message)
        facts = ("vendor", "operation", "method", "path", "status", "error_code", "attempts", "form", "words")
        for fact in facts:
            setattr(error, fact, getattr(self, fact))
        return error

    def __str__(self) -> str:
        """Say what was asked, what came and what happens next, in one line."""
        asked = " ".join(part for part in (self.vendor, self.operation) if part)
        where = f" ({self.method} {self.path})" if self.method and self.path else ""
        facts = [self.message or type(self).__name__]
        if self.status is not None:
            facts.append(f"status {self.status}")
        if self.error_code:
            facts.append(f"error_code {self.error_code!r}")
        if self.attempts is not None and self.attempts > 1:
            facts.append(f"after {self.attempts} attempts")
        if self.retry_after is not None:
            facts.append(f"may be asked again in {self.retry_after:.1f} s")
        said = ", ".join(facts)
        return f"{asked}{where}: {said}" if asked else said

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling calls __init__ with positional args only and would lose the facts.
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[RequestError], facts: dict[str, object]) -> RequestError:
    error = kind.__new__(kind, facts["message"])
    error.__dict__.update(facts)
    return error


class AuthError(RequestError):
    """There is no valid credential to send."""


class AuthFailed(AuthError):
    """A renewed (or fixed) credential was refused."""


class InvalidCredentials(AuthError):
    """The login refused the user name, password or token."""


class TwoFactorRequired(AuthError):
    """The login wants a one-time code; `sent` tells whether the vendor says it has sent one."""

    def __init__(self, message: str = "", *, sent: bool = False, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.sent = sent


class TransportError(RequestError):
    """No usable answer arrived."""


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
    """The connection broke before the whole answer had arrived."""


class DeadlineExceeded(TransportError):
    """The answer took longer than the operation's deadline, counted from the moment its turn came."""


class OutcomeUnknown(TransportError):
    """The connection broke during an operation that must not be repeated: it may or may not have happened."""


class RateLimited(RequestError):
    """The vendor answered 429, or (`local=True`) the wait in our own queue would exceed its bound."""

    def __init__(self, message: str = "", *, local: bool = False, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.local = local


class UnexpectedRedirect(RequestError):
    """The server pointed elsewhere. Redirects are never followed: they would carry the credential along."""


class AnswerError(RequestError):
    """The vendor answered with a refusal, by status or in its envelope."""


class BadRequest(AnswerError):
    """400 or 422: the vendor did not accept the parameters."""


class PermissionDenied(AnswerError):
    """403: the credential is valid and not allowed to do this."""


class NotFound(AnswerError):
    """404: the vendor knows no such thing."""


class ServerFault(AnswerError):
    """5xx, 408 or 425: the vendor's side is in trouble."""


class NoData(AnswerError):
    """The vendor has nothing for this question."""


class DecodeError(RequestError):
    """The answer cannot be read.

    `kind` is one of empty, html, encoding, json, number, depth, containers (too many arrays and objects for
    its size), duplicate_key, shape, envelope, drift,
    base64, csv, version.
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
    """Something about a stream of events."""


class StreamBusy(StreamError):
    """A second consumer asked the same iterator."""


class StreamClosed(StreamError):
    """The stream is closed, or was never opened with `async with`."""


class SlowConsumer(StreamError):
    """Too much was pending for too long under the `raise` policy."""


class CheckpointError(StreamError):
    """A checkpoint cannot be read, used or written; the message names the file and the way on.

    `kind` is one of corrupt, version (from a newer program), sources (of other sources), unreadable,
    unwritable. `fault` is what is wrong and `path` the file, if it is one.
    """

    def __init__(self, fault: str = "", *, kind: str = "corrupt", path: str | None = None) -> None:
        super().__init__(fault)
        self.kind = kind
        self.path = path

    @property
    def fault(self) -> str:
        """What is wrong, and with which file."""
        return f"{self.args[0]}: {self.path}" if self.path else str(self.args[0])

    def __str__(self) -> str:
        if self.kind == "unwritable":
            return self.fault
        return f"{self.fault} (merge(..., on_corrupt='latest') starts from now instead)"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep `kind` and `path` in copies."""
        return (type(self), self.args, {"kind": self.kind, "path": self.path})


class InternalError(StreamError):
    """A source failed through a fault in its own code; the cause is chained and logged once."""
