"""What a consumer had no room for, and what waits until that is fetched again."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from energy_core.stream.event import Reading


class RefillState:
    """What a full buffer under `block` had no room for, of one source.

    Once the consumer has caught up its source fetches it again; what comes live in the meantime is held, so
    that old comes before new. When more comes than may be held, all that was held is fetched again too.
    """

    __slots__ = ("admits", "cut", "end", "filling", "held", "reopened", "start", "until")

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start = start
        self.end = end
        self.until = end
        """The end of what was asked for; beyond it, the hole has grown since."""
        self.filling = False
        self.admits = False
        """Whether what comes now fills the hole."""
        self.cut = False
        """Whether the consumer had no room for all of the refill."""
        self.reopened: datetime | None = None
        """From where on more was lost while the hole was being filled."""
        self.held: deque[tuple[Reading, datetime]] = deque()
        """Each with when it came."""
