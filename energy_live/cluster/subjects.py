"""Names of accounts, sites and events as NATS takes them: subjects, keys and message ids."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from energy_core.errors import DecodeError
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId

PREFIX: Final = "energy"
"""First token of every subject of the log."""

_LONGEST: Final = 160
"""Bytes of a token; a longer name is replaced by its hash, because a server limits the length of a line."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_CODED: Final = re.compile(r"=([0-9A-F]{2})")
_HASHED: Final = "=="


@lru_cache(maxsize=4096)
def token(name: str) -> str:
    """Return a name as one token of a subject or key.

    Letters, digits, ``_`` and ``-`` stay; every other byte of its UTF-8 form becomes ``=`` and two digits.
    """
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return name
    coded = "".join(
        chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"={byte:02X}"
        for byte in name.encode("utf-8", "surrogatepass")
    )
    if not coded:
        return "="
    return coded if len(coded) <= _LONGEST else _HASHED + sha256(coded.encode()).hexdigest()[:32]


def name_of(text: str) -> str | None:
    """Return the name behind a token; None for one that `token` did not make, or made of a hash."""
    if text == "=":
        return ""
    plain = _CODED.sub(lambda found: chr(int(found[1], 16)), text)
    try:
        name = plain.encode("latin-1").decode("utf-8", "surrogatepass")
    except UnicodeError:
        return None
    return name if token(name) == text and not text.startswith(_HASHED) else None


def account_key(vendor: str, account: str) -> str:
    """Return vendor and account label as two tokens, the end of the keys of an account."""
    return f"{token(vendor)}.{token(account)}"


@lru_cache(maxsize=65_536)
def subject_of(source: SourceId) -> str:
    """Return the subject of the events of a device."""
    return f"{PREFIX}.{account_key(source.vendor, source.account)}.{token(source.site)}.{source.instance}"


def source_of(subject: str) -> SourceId | None:
    """Return the device that a subject names; None if a part of it is a hash."""
    match subject.split("."):
        case [_, vendor, account, site, instance] if instance.lstrip("-").isdecimal():
            parts = [part for each in (vendor, account, site) if (part := name_of(each)) is not None]
            if len(parts) == 3:
                return SourceId(parts[0], parts[1], parts[2], int(instance))
    return None


_BITS: Final = {quantity: 1 << number for number, quantity in enumerate(Quantity)}


def message_id(event: Event, run: str) -> str:
    """Return the id by which the server recognises an event that it has already.

    A reading has the same id on every host: source, event id, revision and, because a record may hold
    more quantities of a second than were delivered, which quantities. A gap is known by its span and reason.
    Other events count within one run.

    Args:
        event: The event.
        run: Identifies the run of the collector.
    """
    if event.kind is Kind.READING:
        bits = 0
        for quantity in event.values:
            bits |= _BITS[quantity]
        return _line(f"{_text(event.source)}|{event.id}|{event.revision}|{bits:x}")
    detail = event.detail
    if isinstance(detail, Gap):
        names = ",".join(detail.quantities)
        about = f"{detail.start.timestamp():.3f}/{detail.end.timestamp():.3f}/{names}/{detail.reason}"
        return _line(f"{event.source}|gap|{about}")
    if event.kind is Kind.ALARM:
        return _line(f"{event.source}|{event.id}|{event.time.isoformat()}")
    return _line(f"{event.source}|{event.id}|{run}")


_text: Final = lru_cache(maxsize=65_536)(str)


def _line(text: str) -> str:
    """Return an id that fits into a header: printable ASCII, and of bounded length."""
    if len(text) > 2 * _LONGEST:
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text if text.isascii() and text.isprintable() else quote(text, safe="|/:=,.*@ ")


def read_event(data: bytes, subject: str) -> Event:
    """Return the event of a message of the log.

    Raises:
        DecodeError: it is not an event, or of a newer version (`kind="version"`).
    """
    event = Event.from_json(data)
    if subject_of(event.source) != subject:
        raise DecodeError(f"the message on {subject} is about {event.source}", kind="shape")
    return event
