"""The JSON form of an event, version 1: what is written, and strict reading of what was written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NoReturn

from energy_core.errors import DecodeError
from energy_core.stream.vocabulary import Detail, Dropped, Gap, Kind, Quantity, SourceId, State, Status

JSON_VERSION: Final = 1


def dumps(members: Mapping[str, object]) -> str:
    """Return one line of JSON, the version first.

    Raises:
        ValueError: a number is not finite.
        TypeError: `raw` holds something that JSON cannot say.
    """
    return json.dumps(
        {"v": JSON_VERSION, **members},
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=_mapping,
    )


def _mapping(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"raw holds a {type(value).__name__}, which JSON cannot say")


def detail_members(detail: Detail | None) -> dict[str, object] | None:
    """Return what a status, gap or dropped event says."""
    match detail:
        case None:
            return None
        case Status(state=state, reason=reason, retry_in=retry_in):
            return {"state": state, "reason": reason, "retry_in": retry_in}
        case Gap(start=start, end=end, reason=reason, quantities=quantities):
            stretch = {"from": start.isoformat(), "to": end.isoformat()}
            return {**stretch, "reason": reason, "quantities": list(quantities)}
        case Dropped(first=first, last=last, count=count):
            return {"first": first, "last": last, "count": count}


class EventMembers:
    """The members of one JSON object, read strictly; members nobody asked for are let be."""

    def __init__(self, members: object, where: str = "an event") -> None:
        if not isinstance(members, dict):
            _refuse(f"{where} is not an object")
        self._members: Mapping[str, object] = members
        self._where = where

    @classmethod
    def of_line(cls, line: str | bytes) -> EventMembers:
        """Read one line.

        Raises:
            DecodeError: it is not JSON (`kind="json"`), not an object (`"shape"`), or of a version this
                program does not know (`"version"`).
        """
        try:
            loaded = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
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
        """Return a whole number from 0 on."""
        value = self._get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return self._wrong(name, "a whole number from 0 on")

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._get(name)
        return value if isinstance(value, bool) else self._wrong(name, "true or false")

    def moment(self, name: str) -> datetime:
        """Return an aware time."""
        try:
            moment = datetime.fromisoformat(self.text(name))
        except ValueError:
            return self._wrong(name, "a time")
        return moment if moment.tzinfo is not None else self._wrong(name, "a time with its offset")

    def seconds(self, name: str) -> float | None:
        """Return a number, or None."""
        value = self._get(name)
        return None if value is None else self._number(name, value)

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return an object as it is."""
        value = self._get(name)
        return value if isinstance(value, dict) else self._wrong(name, "an object")

    def values(self) -> Mapping[Quantity, float]:
        """Return the readings."""
        try:
            return {
                Quantity(name): self._number(name, value) for name, value in self.mapping("values").items()
            }
        except ValueError:
            return self._wrong("values", "numbers by the names of known quantities")

    def source(self) -> SourceId:
        """Return where the event comes from."""
        match self._get("source"):
            case [str(vendor), str(account), str(site), int(instance)] if not isinstance(instance, bool):
                return SourceId(vendor, account, site, instance)
        return self._wrong("source", "vendor, account, site and instance")

    def kind(self) -> Kind:
        """Return what the event is about."""
        try:
            return Kind(self.text("kind"))
        except ValueError:
            return self._wrong("kind", "one of " + ", ".join(Kind))

    def detail(self, kind: Kind) -> Detail | None:
        """Return what an event of this kind says."""
        said = self._get("detail")
        if kind is Kind.READING:
            return None if said is None else self._wrong("detail", "null in a reading")
        inner = EventMembers(said, f"the detail of a {kind} event")
        if kind is Kind.GAP:
            return inner._gap()
        if kind is Kind.DROPPED:
            return Dropped(first=inner.whole("first"), last=inner.whole("last"), count=inner.whole("count"))
        try:
            state = State(inner.text("state"))
        except ValueError:
            return inner._wrong("state", "one of " + ", ".join(State))
        return Status(state=state, reason=inner.text("reason"), retry_in=inner.seconds("retry_in"))

    def _gap(self) -> Gap:
        named = self._members.get("quantities", [])
        try:
            quantities = tuple(Quantity(name) for name in named) if isinstance(named, list) else None
        except ValueError:
            quantities = None
        return Gap(
            start=self.moment("from"),
            end=self.moment("to"),
            reason=self.text("reason"),
            quantities=self._wrong("quantities", "names of quantities") if quantities is None else quantities,
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
