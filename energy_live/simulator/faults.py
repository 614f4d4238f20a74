"""Faults on request: what goes wrong, for which requests, how often; programmable while the servers run."""

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
    """The ways a request or a socket can go wrong."""

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
    """One thing that goes wrong. The functions of this module build them."""

    kind: FaultKind
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None
    keep: float = 0.5
    """Share of the body that still arrives when it is cut."""
    valid_length: bool = True
    """Whether a cut body's declared length is its own; otherwise the connection breaks in the middle."""
    after_handling: bool = False
    """Whether the server had done its work before the connection broke."""
    declare_length: bool = True
    """Whether an answer declares its length; otherwise it comes in chunks."""
    code: int = 1000
    text: str = ""
    after_frames: int = 0
    """For sockets: how many frames still arrive before it happens."""

    @property
    def on_socket(self) -> bool:
        """Whether this happens on an open WebSocket rather than to a request."""
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
    """Answer with exactly this; header names are written with underscores."""
    names = [("Content-Type", content_type)]
    names += [(name.replace("_", "-").title(), value) for name, value in headers.items()]
    content = body.encode() if isinstance(body, str) else body
    return Fault(kind=FaultKind.ANSWER, status=status, body=content, headers=tuple(names))


def chunked(fault: Fault) -> Fault:
    """Answer in chunks, so that no Content-Length says how long the body is."""
    return evolve(fault, declare_length=False)


def rate_limited(retry_after: str | float | None = None, *, html: bool = False) -> Fault:
    """Answer 429. `retry_after` is sent as it is: seconds, or any spelling of an HTTP date."""
    header = {} if retry_after is None else {"retry_after": str(retry_after)}
    if html:
        return answer(429, page("429 Too Many Requests"), content_type="text/html", **header)
    body = '{"success":false,"errors":"Too many requests","error_code":null}'
    return answer(429, body, **header)


def outage(status: int = 503, *, retry_after: str | float | None = None) -> Fault:
    """Answer as a proxy does whose server is gone: an HTML page with 502, 503 or 504."""
    titles = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}
    header = {} if retry_after is None else {"retry_after": str(retry_after)}
    title = f"{status} {titles.get(status, 'Gateway Time-out')}"
    return answer(status, page(title), content_type="text/html", **header)


def html_page() -> Fault:
    """Answer 200 with a maintenance page where JSON should be."""
    return answer(200, page("Maintenance"), content_type="text/html; charset=utf-8")


def redirect(location: str, status: int = 302) -> Fault:
    """Send the client elsewhere."""
    return answer(status, b"", content_type="text/html", location=location)


def truncated(keep: float = 0.5, *, valid_length: bool = True) -> Fault:
    """Cut the true answer's body, with a declared length that is its own, or breaking the connection."""
    return Fault(kind=FaultKind.TRUNCATE, keep=keep, valid_length=valid_length)


def slow(seconds: float) -> Fault:
    """Answer truly, but late."""
    return Fault(kind=FaultKind.SLOW, seconds=seconds)


def reset(*, after_handling: bool = False) -> Fault:
    """Reset the connection instead of answering, before or after the server has done its work."""
    return Fault(kind=FaultKind.RESET, after_handling=after_handling)


def drop(*, after_frames: int = 0) -> Fault:
    """Cut a WebSocket's TCP connection without a close frame."""
    return Fault(kind=FaultKind.DROP, after_frames=after_frames)


def close(code: int, text: str = "", *, after_frames: int = 0) -> Fault:
    """Close a WebSocket with this code; at `after_frames=0` that is accept-then-close."""
    return Fault(kind=FaultKind.CLOSE, code=code, text=text, after_frames=after_frames)


def silent(seconds: float | None = None, *, after_frames: int = 0) -> Fault:
    """Send no frames for a while (or for good), while pings are still answered."""
    return Fault(kind=FaultKind.SILENT, seconds=seconds, after_frames=after_frames)


def freeze(*, after_frames: int = 0) -> Fault:
    """Neither send nor read any more: a half-open link, seen from the client."""
    return Fault(kind=FaultKind.FREEZE, after_frames=after_frames)


def frame(text: str, *, after_frames: int = 0) -> Fault:
    """Send this as one more frame: broken JSON, an unknown event type, anything."""
    return Fault(kind=FaultKind.FRAME, text=text, after_frames=after_frames)


def page(title: str) -> str:
    """Return the page a proxy writes in front of a server that is gone."""
    return _PAGE.format(title=title)


class Rule:
    """Which requests meet a fault, and how often still."""

    def __init__(self, fault: Fault, *, method: str, path: str, times: int | None, after: int) -> None:
        self.fault = fault
        self.method = method
        self.path = path
        self.remaining = times
        """How many requests will still meet it; None for all."""
        self.skip = after
        """How many matching requests are spared first."""
        self.hits = 0

    def matches(self, method: str, path: str) -> bool:
        """Take one request if it is this rule's."""
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
    """An open WebSocket that can be troubled."""

    @property
    def product_id(self) -> int:
        """Which product it follows."""

    def inject(self, fault: Fault) -> None:
        """Let it happen now."""


@define(eq=False)
class Faults:
    """The switchboard. Rules are tried in the order they were added; the first that takes a request decides.

    Paths are matched below the base (`installations/*/stats`, `products/events`), so they name both servers.
    """

    rules: list[Rule] = field(factory=list, init=False)
    sockets: set[FaultTarget] = field(factory=set, init=False)
    """The WebSockets open now."""
    separator_fault: bool = field(default=False, init=False)
    """The export of 2021: the header is separated as asked, the rows by commas."""
    on_expire: list[Callable[[], None]] = field(factory=list, init=False, repr=False)

    def add(
        self, fault: Fault, *, path: str = "*", method: str = "*", times: int | None = 1, after: int = 0
    ) -> Rule:
        """Arm a fault for `times` matching requests (None: until removed), sparing the first `after`."""
        rule = Rule(fault, method=method.upper(), path=path, times=times, after=after)
        self.rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Disarm one rule; harmless if it is gone."""
        if rule in self.rules:
            self.rules.remove(rule)

    def clear(self) -> None:
        """Disarm everything."""
        self.rules.clear()

    def match(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request that arrives now."""
        return next((rule.fault for rule in self.rules if rule.matches(method, path)), None)

    def inject(self, fault: Fault, product_id: int | None = None) -> int:
        """Let `fault` happen now to the open WebSockets (of one product); returns how many there were."""
        struck = [one for one in self.sockets if product_id in {None, one.product_id}]
        for socket in struck:
            socket.inject(fault)
        return len(struck)

    def expire_tokens(self) -> None:
        """Make every token that a login has issued invalid from now on. Personal access tokens stay valid."""
        for expire in self.on_expire:
            expire()
