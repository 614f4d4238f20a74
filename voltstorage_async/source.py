"""Product events as unified readings."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from datetime import datetime
from typing import Final

from energy_core.errors import DecodeError, StreamBusy
from energy_core.stream.event import Outlet, SourceId, State
from energy_core.stream.socket import Link, ReconnectingSocket
from energy_core.stream.timing import SocketTiming
from voltstorage_async.codec import product_event
from voltstorage_async.events import LatestData
from voltstorage_async.fields import FieldMap

_REMEMBERED_S: Final = 600
"""So many different seconds are remembered to tell frames of one second apart."""


class ProductSource:
    """One product's events, put into an outlet straight from the socket. Used once.

    Frames may hold only what changed; a reading holds what its frame holds. Only data is a reading: a
    message of an unknown type has no time and no values, and is counted.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (the source's own word)
        link: Link,
        *,
        fields: FieldMap,
        timing: SocketTiming = SocketTiming(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.unknown = 0
        """Messages of a type nobody documented."""
        self.malformed = 0
        """Messages that could not be read."""
        self.unusable = 0
        """Values left out because they are not numbers."""
        self._id = id
        self._product_id = int(id.site)
        self._link = link
        self._fields = fields
        self._timing = timing
        self._ssl_context = ssl_context
        self._ordinals: OrderedDict[int, int] = OrderedDict()
        self._outlet: Outlet | None = None

    @property
    def id(self) -> SourceId:
        """Names the source in its events."""
        return self._id

    async def run(self, outlet: Outlet) -> None:
        """Put readings until cancelled.

        Raises:
            StreamBusy: the source was used before.
            RequestError: a refusal that waiting cannot mend.
        """
        if self._outlet is not None:
            raise StreamBusy("a source is used once; ask the client for another")
        self._outlet = outlet
        socket = ReconnectingSocket(
            self._link,
            on_frame=self._on_frame,
            on_state=self._on_state,
            timing=self._timing,
            ssl_context=self._ssl_context,
        )
        await socket.run()

    def _on_frame(self, frame: bytes) -> bool:
        try:
            event = product_event(self._product_id, frame)
        except DecodeError:
            self.malformed += 1
            return False
        if isinstance(event, LatestData):
            self._emit(event)
        else:
            self.unknown += 1
        return True

    def _emit(self, event: LatestData) -> None:
        values, unusable = self._fields.reading(event.data)
        self.unusable += unusable
        if self._outlet is not None:
            self._outlet.reading(
                self._id, time=event.time, id=self._name(event.time), values=values, raw=event.raw
            )

    def _name(self, time: datetime) -> str:
        """Return product, second and ordinal; the ordinal tells two frames of one second apart."""
        second = int(time.timestamp())
        ordinal = self._ordinals.pop(second, -1) + 1
        self._ordinals[second] = ordinal
        if len(self._ordinals) > _REMEMBERED_S:
            self._ordinals.popitem(last=False)
        return f"{self._product_id}/{second}/{ordinal}"

    def _on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        if self._outlet is not None:
            self._outlet.status(state, reason=reason, retry_in=retry_in)

    def __repr__(self) -> str:
        counts = f"{self.unknown} unknown, {self.malformed} malformed, {self.unusable} unusable values"
        return f"<ProductSource {self._id}: {counts}>"
