"""The JSON form of an event: writes it, and reads it strictly. docs/events.md describes version 1."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NoReturn

from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import (
    AlarmChange,
    Detail,
    Dropped,
    Gap,
    Kind,
    Quantity,
    SourceId,
    State,
    Status,
)

JSON_VERSION: Final = 1


def dumps(members: Mapping[str, object]) -> str:
    """Return one line of JSON, the version first.

    Args:
        members: The members of the event, in their order.

    Raises:
        ValueError: A number is not finite.
        TypeError: `raw` holds a value that has no JSON form.
    """
    return _encode({"v": JSON_VERSION, **members})


def _to_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"raw holds a {type(value).__name__}, which has no JSON form")


# One encoder for all events: `json.dumps` makes one for each call, which takes a quarter of its time.
_encode: Final = json.JSONEncoder(
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,  # "NaN" is not JSON
    default=_to_dict,  # raw may be any mapping
).encode


def detail_members(detail: Detail | None) -> dict[str, object] | None:
    """Return the JSON members of a detail; None for a reading."""
    match detail:
        case None:
            return None
        case Status(state=state, reason=reason, retry_in=retry_in):
            return {"state": state, "reason": reason, "retry_in": retry_in}
        case Gap(start=start, end=end, reason=reason, quantities=quantities):
            span = {"from": start.isoformat(), "to": end.isoformat()}
            return {**span, "reason": reason, "quantities": list(quantities)}
        case Dropped(first=first, last=last, count=count):
            return {"first": first, "last": last, "count": count}
        case AlarmChange():
            return {
                "active": detail.active,
                "alarm": detail.alarm,
                "text": detail.text,
                "device": detail.device,
                "instance": detail.instance,
                "started": None if detail.started is None else detail.started.isoformat(),
            }


class EventMembers:
    """Reads the members of one JSON object strictly. Members of other names are ignored.

    Args:
        members: The parsed object.
        where: Names the object in errors.

    Raises:
        DecodeError: `members` is not an object, or a method finds a member missing or of the wrong type
            (`kind="shape"`).
    """

    def __init__(self, members: object, where: str = "an event") -> None:
        if not isinstance(members, dict):
            _refuse(f"{where} is not an object")
        self._members: Mapping[str, object] = members
        self._where = where

    @classmethod
    def of_line(cls, line: str | bytes) -> EventMembers:
        """Parse one line.

        Raises:
            DecodeError: It is not JSON (`kind="json"`), not an object (`"shape"`), or of another version
                (`"version"`).
        """
        try:
            loaded = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):  # deeply nested arrays exceed the recursion limit
            raise DecodeError("this line is not JSON", kind="json") from None
        members = cls(loaded)
        version = members.whole("v")
        if version != JSON_VERSION:
            raise DecodeError(f"this event is of version {version}, not {JSON_VERSION}", kind="version")
        return members

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._get(name)
        return value if isinstance(value, str) else self._wrong(name, "a text")

    def whole(self, name: str) -> int:
        """Return an integer from 0 on."""
        value = self._get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:  # a bool is an int
            return value
        return self._wrong(name, "a whole number from 0 on")

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._get(name)
        return value if isinstance(value, bool) else self._wrong(name, "true or false")

    def time(self, name: str) -> datetime:
        """Return an aware time."""
        try:
            time = datetime.fromisoformat(self.text(name))
        except ValueError:
            return self._wrong(name, "a time")
        return time if time.tzinfo is not None else self._wrong(name, "a time with its offset")

    def seconds(self, name: str) -> float | None:
        """Return a number of seconds, or None for null."""
        value = self._get(name)
        return None if value is None else self._number(name, value)

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return an object, unchanged."""
        value = self._get(name)
        return value if isinstance(value, dict) else self._wrong(name, "an object")

    def values(self) -> Mapping[Quantity, float]:
        """Return the measured values by quantity."""
        try:
            return {
                Quantity(name): self._number(name, value) for name, value in self.mapping("values").items()
            }
        except ValueError:
            return self._wrong("values", "numbers by the names of known quantities")

    def source(self) -> SourceId:
        """Return the source id."""
        match self._get("source"):
            case [str(vendor), str(account), str(site), int(instance)] if not isinstance(instance, bool):
                return SourceId(vendor, account, site, instance)
        return self._wrong("source", "vendor, account, site and instance")

    def kind(self) -> Kind:
        """Return the kind of the event."""
        try:
            return Kind(self.text("kind"))
        except ValueError:
            return self._wrong("kind", "one of " + ", ".join(Kind))

    def detail(self, kind: Kind) -> Detail | None:
        """Return the detail of an event of this kind; None for a reading."""
        value = self._get("detail")
        if kind is Kind.READING:
            return None if value is None else self._wrong("detail", "null in a reading")
        inner = EventMembers(value, f"the detail of a {kind} event")
        if kind is Kind.GAP:
            return inner._gap()
        if kind is Kind.DROPPED:
            return Dropped(first=inner.whole("first"), last=inner.whole("last"), count=inner.whole("count"))
        if kind is Kind.ALARM:
            return inner._alarm()
        try:
            state = State(inner.text("state"))
        except ValueError:
            return inner._wrong("state", "one of " + ", ".join(State))
        return Status(state=state, reason=inner.text("reason"), retry_in=inner.seconds("retry_in"))

    def _gap(self) -> Gap:
        # Older programs wrote gaps without this member.
        names = self._members.get("quantities", [])
        try:
            quantities = tuple(Quantity(name) for name in names) if isinstance(names, list) else None
        except ValueError:
            quantities = None
        return Gap(
            start=self.time("from"),
            end=self.time("to"),
            reason=self.text("reason"),
            quantities=self._wrong("quantities", "names of quantities") if quantities is None else quantities,
        )

    def _alarm(self) -> AlarmChange:
        return AlarmChange(
            active=self.flag("active"),
            alarm=self.text("alarm"),
            text=self.text("text"),
            device=self.text("device"),
            instance=None if self._get("instance") is None else self.whole("instance"),
            started=None if self._get("started") is None else self.time("started"),
        )

    def _number(self, name: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
        return self._wrong(name, "a finite number")

    def _get(self, name: str) -> object:
        try:
            return self._members[name]
        except KeyError:
            _refuse(f"{self._where} has no {name!r}")

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        _refuse(f"{name!r} of {self._where} must be {wanted}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse(fault: str) -> NoReturn:
    raise DecodeError(fault, kind="shape")
