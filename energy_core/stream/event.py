"""One vocabulary for what a home does: events, quantities with units and signs, and what a source is.

======================== ==== ================================================================
quantity                 unit sign
======================== ==== ================================================================
grid_power               W    positive = import from the grid, negative = feed-in
battery_power            W    positive = charging, negative = discharging
pv_power                 W    what the sun gives; a small negative measured value is passed on
consumption_power        W    what the home uses
generator_power          W    what a generator gives
battery_soc              %    0..100
battery_voltage          V
battery_current          A    positive = charging, negative = discharging
battery_temperature      degC
grid_import_energy       kWh  counted per period by the vendor, like every energy below
grid_export_energy       kWh
pv_energy                kWh
consumption_energy       kWh
battery_charge_energy    kWh
battery_discharge_energy kWh
======================== ==== ================================================================
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from attrs import field, frozen

JSON_VERSION: Final = 1


class Quantity(enum.StrEnum):
    """What a number in `Event.values` measures. The module's table gives unit and sign."""

    GRID_POWER = "grid_power"
    BATTERY_POWER = "battery_power"
    PV_POWER = "pv_power"
    CONSUMPTION_POWER = "consumption_power"
    GENERATOR_POWER = "generator_power"
    BATTERY_SOC = "battery_soc"
    BATTERY_VOLTAGE = "battery_voltage"
    BATTERY_CURRENT = "battery_current"
    BATTERY_TEMPERATURE = "battery_temperature"
    GRID_IMPORT_ENERGY = "grid_import_energy"
    GRID_EXPORT_ENERGY = "grid_export_energy"
    PV_ENERGY = "pv_energy"
    CONSUMPTION_ENERGY = "consumption_energy"
    BATTERY_CHARGE_ENERGY = "battery_charge_energy"
    BATTERY_DISCHARGE_ENERGY = "battery_discharge_energy"

    @property
    def unit(self) -> str:
        """The fixed unit: W, %, V, A, degC or kWh."""
        return _UNITS[self.rpartition("_")[2]]


_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {"power": "W", "soc": "%", "voltage": "V", "current": "A", "temperature": "degC", "energy": "kWh"}
)


class Kind(enum.StrEnum):
    """What an event is about."""

    READING = "reading"
    STATUS = "status"
    GAP = "gap"
    DROPPED = "dropped"


class State(enum.StrEnum):
    """How a source is doing; a status event announces every change."""

    CONNECTING = "connecting"
    LIVE = "live"
    BACKFILLING = "backfilling"
    STALE = "stale"
    DISCONNECTED = "disconnected"
    AUTH_FAILED = "auth_failed"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def terminal(self) -> bool:
        """Whether the source has ended."""
        return self in {State.AUTH_FAILED, State.FAILED, State.CLOSED}


class SourceId(NamedTuple):
    """Where an event comes from: vendor, account label (never a secret), site or product, device instance."""

    vendor: str
    account: str
    site: str
    instance: int = 0

    def __str__(self) -> str:
        return f"{self.vendor}/{self.account}/{self.site}/{self.instance}"


@frozen(kw_only=True)
class Status:
    """The detail of a status event."""

    state: State
    reason: str = ""
    retry_in: float | None = None
    """Seconds until the source tries again, where it will."""


@frozen(kw_only=True)
class Gap:
    """The detail of a gap event: a stretch of time that could not be delivered."""

    start: datetime
    end: datetime
    reason: str


@frozen(kw_only=True)
class Dropped:
    """The detail of a dropped event: `count` readings from `first` to `last` (their seq) were dropped."""

    first: int
    last: int
    count: int


Detail: TypeAlias = Status | Gap | Dropped


@frozen(kw_only=True)
class Event:
    """One message, or one polled moment of one device.

    Args:
        source: Where it comes from.
        kind: reading, status, gap or dropped.
        key: What a newer event may replace for a display: source and kind.
        time: The device's or the server's time, aware.
        received_at: When it arrived here, aware.
        seq: Counts up by exactly one per source, numbered before any buffer: a drop shows as a jump.
        id: Stable across runs and free of values, so that a repeat can be recognised.
        values: The readings in fixed units and signs; empty for other kinds.
        raw: The vendor's own mapping, untouched; empty for other kinds.
        detail: What a status, gap or dropped event says; None for readings.
        backfilled: Fetched later to fill a hole.
        late: Older than an event of the same source that was already delivered.
        revision: Counts the vendor's changes to a value it had given before.
    """

    source: SourceId
    kind: Kind
    key: str
    time: datetime
    received_at: datetime
    seq: int
    id: str
    values: Mapping[Quantity, float] = field(factory=dict)
    raw: Mapping[str, object] = field(factory=dict, repr=False)
    detail: Detail | None = None
    backfilled: bool = False
    late: bool = False
    revision: int = 0

    def to_json(self) -> str:
        """Return one line of JSON, `"v": 1` first; `docs/events.md` describes it."""
        return json.dumps(
            {
                "v": JSON_VERSION,
                "source": list(self.source),
                "kind": self.kind,
                "key": self.key,
                "time": self.time.isoformat(),
                "received_at": self.received_at.isoformat(),
                "seq": self.seq,
                "id": self.id,
                "values": dict(self.values),
                "raw": self.raw,
                "detail": _detail_json(self.detail),
                "backfilled": self.backfilled,
                "late": self.late,
                "revision": self.revision,
            },
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            default=_json_default,
        )


def _json_default(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"raw holds a {type(value).__name__}, which JSON cannot say")


def _detail_json(detail: Detail | None) -> dict[str, object] | None:
    match detail:
        case None:
            return None
        case Status(state=state, reason=reason, retry_in=retry_in):
            return {"state": state, "reason": reason, "retry_in": retry_in}
        case Gap(start=start, end=end, reason=reason):
            return {"from": start.isoformat(), "to": end.isoformat(), "reason": reason}
        case Dropped(first=first, last=last, count=count):
            return {"first": first, "last": last, "count": count}


class Outlet(Protocol):
    """Where a source puts what it has; handed to `Source.run` by the merged stream."""

    def reading(
        self,
        source: SourceId,
        *,
        time: datetime,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        raw: Mapping[str, object],
        backfilled: bool = False,
        revision: int = 0,
    ) -> None:
        """Hand over one reading. Never blocks: a full buffer drops by its policy and announces it."""

    def status(self, state: State, *, reason: str = "", retry_in: float | None = None) -> None:
        """Announce how the source is doing, as `TRANSITIONS` allows; the stream itself announces its end."""

    def gap(self, source: SourceId, *, start: datetime, end: datetime, reason: str) -> None:
        """Report a stretch of time that cannot be delivered."""

    async def room(self) -> None:
        """Wait until the buffer has room. For pollers, which may wait; never for a socket's reader."""


class Source(Protocol):
    """Anything that can put events into an outlet."""

    @property
    def id(self) -> SourceId:
        """Names the source in its status events."""

    async def run(self, outlet: Outlet) -> None:
        """Put events until there are no more; an error raised here ends this source and no other.

        Returning ends it as closed, and so does a client that was closed meanwhile. Raising `AuthError` ends
        it as auth_failed, any other `EnergyError` as failed; anything else is a fault in the source's own
        code and is reported as `InternalError`.
        """
