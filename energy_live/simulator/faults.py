"""Fault injection: which requests fail, how, and how often.

simulator.faults.add(rate_limited(retry_after=2), path="users/me", times=3)
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final, Protocol

from attrs import define, evolve, field, frozen

_PAGE: Final = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
    "<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
)


class FaultKind(enum.StrEnum):
    """Kinds of faults. The functions of this module describe them."""

    ANSWER = "answer"
    TRUNCATE = "truncate"
    SLOW = "slow"
    RESET = "reset"
    DROP = "drop"
    CLOSE = "close"
    SILENT = "silent"
    FREEZE = "freeze"
    FRAME = "frame"


@frozen(kw_only=True)
class Fault:
    """One fault. Use the functions of this module to create one."""

    kind: FaultKind
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None
    keep: float = 0.5
    """Share of the body that is sent before it is truncated, 0..1."""
    valid_length: bool = True
    """Whether Content-Length is that of the truncated body; otherwise the connection breaks early."""
    after_handling: bool = False
    """Whether the request is handled before the connection is reset."""
    declare_length: bool = True
    """Whether the answer has a Content-Length; otherwise it is chunked."""
    code: int = 1000
    text: str = ""
    after_frames: int = 0
    """For WebSockets: number of frames that are sent before the fault."""

    @property
    def on_socket(self) -> bool:
        """Whether the fault applies to an open WebSocket instead of a request."""
        return self.kind in {
            FaultKind.DROP,
            FaultKind.CLOSE,
            FaultKind.SILENT,
            FaultKind.FREEZE,
            FaultKind.FRAME,
        }


def answer(
    status: int, body: bytes | str = b"", *, content_type: str = "application/json", **headers: str
) -> Fault:
    """Answer with this status, body and headers; header names are written with underscores."""
    names = [("Content-Type", content_type)]
    names += [(name.replace("_", "-").title(), value) for name, value in headers.items()]
    content = body.encode() if isinstance(body, str) else body
    return Fault(kind=FaultKind.ANSWER, status=status, body=content, headers=tuple(names))


def chunked(fault: Fault) -> Fault:
    """Answer with chunked transfer encoding instead of a Content-Length."""
    return evolve(fault, declare_length=False)


def rate_limited(retry_after: str | float | None = None, *, html: bool = False) -> Fault:
    """Answer 429 with VRM's envelope, or a proxy's HTML page.

    Args:
        retry_after: Value of the Retry-After header, sent as given: seconds or an HTTP date.
        html: Whether to send HTML.
    """
    header = {} if retry_after is None else {"retry_after": str(retry_after)}
    if html:
        return answer(429, page("429 Too Many Requests"), content_type="text/html", **header)
    body = '{"success":false,"errors":"Too many requests","error_code":null}'
    return answer(429, body, **header)


def outage(status: int = 503, *, retry_after: str | float | None = None) -> Fault:
    """Answer with a proxy's HTML page and status 500, 502, 503 or 504."""
    titles = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}
    header = {} if retry_after is None else {"retry_after": str(retry_after)}
    title = f"{status} {titles.get(status, 'Gateway Time-out')}"
    return answer(status, page(title), content_type="text/html", **header)


def html_page() -> Fault:
    """Answer 200 with an HTML maintenance page instead of JSON."""
    return answer(200, page("Maintenance"), content_type="text/html; charset=utf-8")


def redirect(location: str, status: int = 302) -> Fault:
    """Answer with a redirect."""
    return answer(status, b"", content_type="text/html", location=location)


def truncated(keep: float = 0.5, *, valid_length: bool = True) -> Fault:
    """Truncate the body of the real answer.

    Args:
        keep: Share of the body that is sent, 0..1.
        valid_length: Whether Content-Length is that of the truncated body; otherwise the connection breaks.
    """
    return Fault(kind=FaultKind.TRUNCATE, keep=keep, valid_length=valid_length)


def slow(seconds: float) -> Fault:
    """Delay the real answer by this many real seconds."""
    return Fault(kind=FaultKind.SLOW, seconds=seconds)


def reset(*, after_handling: bool = False) -> Fault:
    """Reset the connection instead of answering, before or after the request is handled."""
    return Fault(kind=FaultKind.RESET, after_handling=after_handling)


def drop(*, after_frames: int = 0) -> Fault:
    """Reset a WebSocket's TCP connection without a close frame."""
    return Fault(kind=FaultKind.DROP, after_frames=after_frames)


def close(code: int, text: str = "", *, after_frames: int = 0) -> Fault:
    """Close a WebSocket with this code; with `after_frames=0` right after the handshake."""
    return Fault(kind=FaultKind.CLOSE, code=code, text=text, after_frames=after_frames)


def silent(seconds: float | None = None, *, after_frames: int = 0) -> Fault:
    """Send no frames for some real seconds (None: for ever); pings are still answered."""
    return Fault(kind=FaultKind.SILENT, seconds=seconds, after_frames=after_frames)


def freeze(*, after_frames: int = 0) -> Fault:
    """Neither send nor read any more, like a half-open connection."""
    return Fault(kind=FaultKind.FREEZE, after_frames=after_frames)


def frame(text: str, *, after_frames: int = 0) -> Fault:
    """Send this text as an additional frame, for example broken JSON or an unknown event type."""
    return Fault(kind=FaultKind.FRAME, text=text, after_frames=after_frames)


def page(title: str) -> str:
    """Return a proxy's HTML error page."""
    return _PAGE.format(title=title)


class Rule:
    """Applies a fault to requests that match method and path."""

    def __init__(self, fault: Fault, *, method: str, path: str, times: int | None, after: int) -> None:
        self.fault = fault
        self.method = method
        self.path = path
        self.remaining = times
        """Number of requests to which the fault will still apply; None: no limit."""
        self.skip = after
        """Number of matching requests that are answered normally first."""
        self.hits = 0
        """Number of requests to which the fault has applied."""

    def matches(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a request, and count it."""
        if self.remaining == 0 or not fnmatchcase(method, self.method) or not fnmatchcase(path, self.path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.remaining is not None:
            self.remaining -= 1
        self.hits += 1
        return True

    def __repr__(self) -> str:
        return (
            f"<Rule {self.fault.kind} for {self.method} {self.path}: {self.hits} hits, {self.remaining} left>"
        )


class FaultTarget(Protocol):
    """An open WebSocket."""

    @property
    def product_id(self) -> int:
        """The product whose events it sends."""

    def inject(self, fault: Fault) -> None:
        """Apply a fault now."""


@define(eq=False)
class Faults:
    """Rules of fault injection. The first rule that matches a request applies.

    Paths are patterns below the base path of either server, such as `installations/*/stats` or
    `products/events`.
    """

    rules: list[Rule] = field(factory=list, init=False)
    sockets: set[FaultTarget] = field(factory=set, init=False)
    """Open WebSockets."""
    separator_fault: bool = field(default=False, init=False)
    """Fault of the export in 2021: the header uses the requested separator, the rows use commas."""
    on_expire: list[Callable[[], None]] = field(factory=list, init=False, repr=False)

    def add(
        self, fault: Fault, *, path: str = "*", method: str = "*", times: int | None = 1, after: int = 0
    ) -> Rule:
        """Add a rule.

        Args:
            fault: The fault.
            path: Pattern of the path below the base path.
            method: Pattern of the HTTP method.
            times: Number of requests to which the fault applies; None: until the rule is removed.
            after: Number of matching requests that are answered normally first.
        """
        rule = Rule(fault, method=method.upper(), path=path, times=times, after=after)
        self.rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Remove a rule; does nothing if it is not there."""
        if rule in self.rules:
            self.rules.remove(rule)

    def clear(self) -> None:
        """Remove all rules."""
        self.rules.clear()

    def match(self, method: str, path: str) -> Fault | None:
        """Return the fault of the first matching rule, and count the request."""
        return next((rule.fault for rule in self.rules if rule.matches(method, path)), None)

    def inject(self, fault: Fault, product_id: int | None = None) -> int:
        """Apply a fault now to the open WebSockets, of one product or of all; return their number."""
        targets = [one for one in self.sockets if product_id in {None, one.product_id}]
        for socket in targets:
            socket.inject(fault)
        return len(targets)

    def expire_tokens(self) -> None:
        """Invalidate every token that a login has issued; personal access tokens stay valid."""
        for expire in self.on_expire:
            expire()
