"""`TokenExpiry`: warns of a token that expires soon, in a source's notes and in the log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from energy_core.clock import Clock
from energy_core.errors import RequestError

_log: Final = logging.getLogger("energy_core.token_expiry")

EXPIRES_SOON: Final = timedelta(days=14)
"""A token that expires within this time is warned of."""

FIRST_S: Final = 60.0
"""Seconds from the start to the first check: the first readings do not wait for its requests."""
CHECK_S: Final = 86_400.0
"""Seconds between two checks."""


def expiry_warning(expires: datetime | None, now: datetime) -> str:
    """Return the warning of a token that has expired or expires within 14 days; otherwise an empty text.

    Args:
        expires: Aware; None for a token that does not expire, or whose expiry is not known.
        now: Aware.
    """
    if expires is None or expires - now >= EXPIRES_SOON:
        return ""
    if expires <= now:
        return f"expired {expires:%Y-%m-%d %H:%M} UTC: create a new one"
    days = (expires - now).days
    left = f"in {days} days" if days > 1 else "within two days" if days else "within a day"
    return f"expires {expires:%Y-%m-%d %H:%M} UTC, {left}: create a new one in time"


class TokenExpiry:
    """Checks once a day when the token of an account expires; shared by all sources of a client.

    Args:
        name: The account in the log, such as ``vrm``.
        read: Returns when the token expires, aware; None if it does not, or if that is not known. A check
            whose request fails is repeated after a day.
        clock: Source of time.
    """

    __slots__ = ("_clock", "_due", "_expires", "_name", "_read")

    def __init__(self, name: str, read: Callable[[], Awaitable[datetime | None]], clock: Clock) -> None:
        self._name = name
        self._read = read
        self._clock = clock
        self._due = float("-inf")
        self._expires: datetime | None = None

    @property
    def notes(self) -> Mapping[str, str]:
        """The warning under the key ``token``; empty if there is none."""
        warning = expiry_warning(self._expires, self._clock.utcnow())
        return {"token": warning} if warning else {}

    async def run(self) -> None:
        """Check a minute after the start and then once a day, until cancelled."""
        await self._clock.sleep(FIRST_S)
        while True:
            await self.check()
            await self._clock.sleep(CHECK_S)

    async def check(self) -> None:
        """Read the expiry, at most once a day, and log the warning. Cancelling is safe."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + CHECK_S  # before the request: several sources share this check
        with suppress(RequestError):  # the source that sends other requests reports an outage
            self._expires = await self._read()
        for warning in self.notes.values():
            _log.warning("%s: the access token %s", self._name, warning)
