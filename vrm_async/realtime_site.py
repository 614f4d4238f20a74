"""One site in real time: when it needs a keepalive, whether it lives, and what it delivers. No I/O, no clock.

A gateway publishes for 60 s after a keepalive, to VRM's brokers only if VRM asked within 130 s, and nothing
tells that it has stopped. States:

    DOWN     no connection, or not subscribed
    WAKING   a full keepalive was sent, and no message has come since: at the start, and after 60 s of silence
    ALIVE    messages come; any message of the site proves it, as a constant value is not repeated
    STALE    no answer to the keepalive within 10 s (30 s where this gateway never echoed); asked every 60 s

Source: the README and sources of dbus-flashmq by Victron Energy.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from attrs import Attribute, field, frozen

from energy_core.printable import printable, printable_class
from energy_core.stream.vocabulary import Quantity
from vrm_async.realtime_values import (
    BadPayload,
    Counters,
    CounterValue,
    SiteValues,
    SystemValue,
    meaning,
    read_number,
    read_object,
)

SKEWED_S: Final = 30.0
"""A gateway's clock is reported as wrong when it differs by more than this."""

SKIPPED_BEAT_S: Final = 5.0
"""Seconds without any message after which a heartbeat is missing: a gateway sends one every 3 s."""

_COMPLETE: Final = "full_publish_completed"
_ECHO: Final = "full-publish-completed-echo"
_SUPPRESS: Final = json.dumps({"keepalive-options": ["suppress-republish"]}).encode()


def _positive(_: RealtimeConfig, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


def _known_scheme(_: RealtimeConfig, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not value.startswith(("wss://", "ws://")):
        raise ValueError(f"{attribute.name} must begin with wss://, or ws:// for this machine: {value!r}")


@printable_class
@frozen(kw_only=True)
class RealtimeConfig:
    """How values are received in real time. Most programs keep the defaults."""

    url: str | None = field(default=None, validator=_known_scheme)
    """Address of the broker of all sites, such as ``wss://broker.example:8443/mqtt``; the account's token is
    sent there. ``{broker}`` in it stands for the number of a site's broker, 0 to 127. None: Victron's own
    hosts."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """Verifies the broker; None uses the system's authorities."""
    gather_s: float = field(default=0.2, validator=_positive)
    """Seconds for which messages of a site are gathered into one reading."""
    keepalive_s: float = field(default=30.0, validator=_positive)
    """Seconds between two keepalives of a site."""
    silence_s: float = field(default=60.0, validator=_positive)
    """Seconds without a message after which a site has to prove that it lives."""
    answer_s: float = field(default=10.0, validator=_positive)
    """Seconds in which it has to answer ..."""
    slow_answer_s: float = field(default=30.0, validator=_positive)
    """... or these, if its gateway has never echoed a keepalive (Venus OS before 3.50)."""
    refresh_s: float = field(default=60.0, validator=_positive)
    """Seconds after which a reading holds all values, also those that have not changed."""
    connect_timeout_s: float = field(default=10.0, validator=_positive)
    """Seconds for a connection with its handshakes and its login."""


class GatewayState(Enum):
    """States of a site; the module's docstring explains them."""

    DOWN = "down"
    WAKING = "waking"
    ALIVE = "alive"
    STALE = "stale"


class Gathered(NamedTuple):
    """What has changed since the last reading of a site."""

    values: Mapping[Quantity, float]
    """Of the site."""
    counters: Mapping[int, Mapping[Quantity, float]]
    """Of its devices, by instance."""
    raw: Mapping[str, float | None]
    """The values by topic below `N/<portal id>/`, as the gateway sent them."""


class RealtimeSite:
    """The state of one site. Callers pass `now` in monotonic seconds.

    Args:
        portal_id: The gateway's identifier, in lower case.
        config: Times.
        echo: Distinguishes this client's keepalives from those of others.
    """

    __slots__ = (
        *(
            "_answer_by",
            "_asked",
            "_asked_at",
            "_beats",
            "_config",
            "_counters",
            "_echo",
            "_echoes",
            "_full_at",
        ),
        *(
            "_full_at",
            "_heard_at",
            "_keepalive_at",
            "_raw",
            "_refresh_at",
            "_refused",
            "_values",
            "_wants_full",
        ),
        *("notes", "portal_id", "skew_s", "state"),
    )

    def __init__(self, portal_id: str, config: RealtimeConfig, *, echo: str) -> None:
        self.portal_id = portal_id
        self.state = GatewayState.DOWN
        self.notes: dict[str, int] = {}
        """Counts of what was left out."""
        self.skew_s = 0.0
        """The gateway's clock minus the one of the caller, in s, by its last heartbeat."""
        self._config = config
        self._echo = echo
        self._asked = 0  # full keepalives sent
        self._asked_at = 0.0
        self._echoes: bool | None = None  # whether this gateway echoes; None: it had no chance yet
        self._answer_by = 0.0
        self._beats = False  # whether the broker forwards its heartbeats
        self._keepalive_at = 0.0  # when the next one is due
        self._full_at = -1e9  # when the last full one was sent
        self._heard_at = 0.0
        self._refresh_at = 0.0
        self._refused = ""
        self._wants_full = False
        self._values = SiteValues()
        self._counters = Counters()
        self._raw: dict[str, float | None] = {}

    # --- connection ----------------------------------------------------------------------------------------

    def subscribed(self, now: float) -> None:
        """Note that the topics are subscribed: the first keepalive is due."""
        self._values.reset()
        self._raw.clear()
        self.state, self._refused = GatewayState.WAKING, ""
        self._keepalive_at = now
        self._answer_by = float("inf")  # until the keepalive is sent

    def down(self) -> None:
        """Note that the connection is lost, or the subscription refused."""
        self.state = GatewayState.DOWN

    def refused(self, reason: str) -> None:
        """Note that the broker refused a keepalive."""
        self._refused = reason

    # --- keepalives ----------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When `keepalive` or `check` has something to do."""
        match self.state:
            case GatewayState.DOWN:
                return float("inf")
            case GatewayState.WAKING:
                return min(self._keepalive_at, self._answer_by)
            case GatewayState.ALIVE:
                return min(self._keepalive_at, self._heard_at + self._config.silence_s, self._publish_by)
            case GatewayState.STALE:
                return self._keepalive_at

    @property
    def _publish_by(self) -> float:
        """When a full publish counts as complete although no message says so: old gateways send none."""
        waits = self._values.publishing and not self._echoes
        return self._asked_at + self._config.slow_answer_s if waits else float("inf")

    def check(self, now: float) -> bool:
        """Go on in time; return whether the site has become stale."""
        if self.state is GatewayState.ALIVE:
            if now >= self._heard_at + self._config.silence_s:
                self.state, self._answer_by = GatewayState.WAKING, float("inf")
                self._keepalive_at, self._wants_full = now, True
            elif now >= self._publish_by:
                self._echoes = False
                self._values.end_publish()
        elif self.state is GatewayState.WAKING and now >= self._answer_by:
            self.state = GatewayState.STALE
            self._keepalive_at = max(self._keepalive_at, now)
            return True
        return False

    def keepalive(self, now: float) -> bytes | None:
        """Return the payload of a keepalive that is due now; None if none is due."""
        if self.state is GatewayState.DOWN or now < self._keepalive_at:
            return None
        values = self._values
        full = self._wants_full or not values.complete or values.uncertain or self._counters.uncertain
        full = full or self.state is not GatewayState.ALIVE
        every_s = self._config.keepalive_s if self.state is not GatewayState.STALE else self._config.silence_s
        self._keepalive_at = now + every_s
        if not full:
            return _SUPPRESS
        self._asked += 1
        self._asked_at = self._full_at = now
        self._wants_full = False
        self._values.begin_publish()
        if self.state is GatewayState.WAKING:
            slow = self._echoes is False
            self._answer_by = now + (self._config.slow_answer_s if slow else self._config.answer_s)
        return json.dumps({"keepalive-options": [{_ECHO: f"{self._echo}-{self._asked}"}]}).encode()

    def want_full(self, now: float) -> None:
        """Ask for a full publish soon, and not more often than every keepalive."""
        if not self._wants_full:
            self._wants_full = True
            self._keepalive_at = min(
                self._keepalive_at, max(now + 1.0, self._full_at + self._config.keepalive_s)
            )

    # --- messages ------------------------------------------------------------------------------------------

    def message(self, path: str, payload: bytes, now: float, unix_s: float) -> bool:
        """Take a message; return whether others may have been missed before it.

        Args:
            path: The topic below `N/<portal id>/`.
            payload: The payload.
            now: Monotonic time.
            unix_s: The time of arrival.
        """
        missed = self._beats and now > self._heard_at + SKIPPED_BEAT_S
        self._heard_at = now
        if self.state in {GatewayState.WAKING, GatewayState.STALE}:
            missed = True
            self.state = GatewayState.ALIVE
            self._refresh_at = now
        what = meaning(path)
        try:
            if isinstance(what, SystemValue):
                self._raw[path] = value = read_number(payload)
                self._values.take(what, value)
                if value is None and self._values.uncertain:
                    self.want_full(now)
            elif isinstance(what, CounterValue):
                self._raw[path] = value = read_number(payload)
                self._counters.take(what, value)
            else:
                self._other(path, payload, now, unix_s)
        except BadPayload as error:
            self._note(f"payloads left out: {error}")
        return missed

    def _other(self, path: str, payload: bytes, now: float, unix_s: float) -> None:
        if path == "heartbeat":
            stamp = read_number(payload)
            self._beats = True
            self.skew_s = 0.0 if stamp is None else stamp - unix_s
        elif path == _COMPLETE:
            self._completed(read_object(payload))
        elif path == "keepalive":
            # The gateway has started: it knows of no client, and publishes nothing until it is asked.
            self.state, self._answer_by = GatewayState.WAKING, float("inf")
            self._keepalive_at = max(now, self._full_at + 1.0)
        else:
            self._note("messages of unknown topics")

    def _completed(self, payload: Mapping[str, object]) -> None:
        echo = payload.get(_ECHO)
        if echo is None or echo == f"{self._echo}-{self._asked}":
            self._echoes = echo is not None
            self._values.end_publish()
        # Any other echo is of another client's request: it may have begun before ours.

    def gathered(self, now: float) -> Gathered:
        """Return what has changed since the last call; from time to time also what has not."""
        raw, self._raw = self._raw, {}
        if now >= self._refresh_at and self._values.complete:
            self._refresh_at = now + self._config.refresh_s
            values: Mapping[Quantity, float] = self._values.everything()
        else:
            values = self._values.changed()
        return Gathered(values, self._counters.changed(), raw)

    @property
    def refresh_at(self) -> float:
        """When a reading should hold all values again."""
        return self._refresh_at if self.state is GatewayState.ALIVE else float("inf")

    def _note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1

    @property
    def counter_resets(self) -> int:
        """Number of energy counters that began anew."""
        return self._counters.resets

    @property
    def skewed(self) -> str:
        """How far the gateway's clock is off; empty if it is right."""
        if abs(self.skew_s) <= SKEWED_S:
            return ""
        return f"the gateway's clock is {abs(self.skew_s):.0f} s {'ahead' if self.skew_s > 0 else 'behind'}"

    @property
    def why_stale(self) -> str:
        """Why the site is stale, as far as the broker tells."""
        return self._refused or "no answer to the keepalive"

    @printable
    def __repr__(self) -> str:
        return f"<RealtimeSite {self.portal_id} {self.state.value}, {self._values!r}>"
