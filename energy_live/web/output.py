"""`WebOutput`: the live page and the relay as one output of `energy-live run`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from energy_core import Event
from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_live.display.output import SiteName
from energy_live.outputs.output import OutputError
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Home, Homes
from energy_live.web.serve import with_names
from energy_live.web.server import WebServer
from energy_live.web.stored_day import try_stored_day


class WebOutput:
    """Serves the page and the relay; what is written is published at once.

    Args:
        listen: Where to listen.
        names: Returns the names and time zones of sites and products by vendor and number.
        homes: The homes; without any, each site and product is one.
        store: The local database from which the last day is read at the start.
        clock: Source of time.

    Raises:
        ValueError: Others could reach the address without a token or TLS.
    """

    idempotent = True

    def __init__(
        self,
        listen: ListenOptions,
        names: Callable[[], Mapping[tuple[str, str], SiteName]],
        *,
        homes: Sequence[Home] = (),
        store: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        listen.check()
        self._listen = listen
        self._names = names
        self._homes = homes
        self._store = store
        self._clock = clock or SystemClock()
        self.server: WebServer | None = None
        """The running server; None before `open` and after `close`."""

    async def open(self) -> Checkpoint | None:
        """Read the last day, and start to listen. It keeps no position of its own: returns None.

        Raises:
            OutputError: The address is in use or not permitted, or a file of TLS cannot be read.
        """
        homes = Homes(with_names(self._homes, self._names()), discover=not self._homes, clock=self._clock)
        if self._store is not None:
            for event in await try_stored_day(self._store, self._clock.utcnow()):
                homes.take(event)
        server = WebServer(self._listen, homes, clock=self._clock, continues=True)
        try:
            await server.__aenter__()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            where = f"{self._listen.host} port {self._listen.port}"
            raise OutputError(f"cannot listen on {where}: {reason}", permanent=True) from None
        self.server = server
        return None

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:  # noqa: ARG002
        """Publish events to the page and to every client. Never waits for a client."""
        if self.server is None:
            raise OutputError("the page is not open")
        self.server.publish(batch)

    async def close(self) -> None:
        """Stop listening; open streams end with code 1001."""
        server, self.server = self.server, None
        if server is not None:
            await server.__aexit__()

    @printable
    def __repr__(self) -> str:
        return f"<WebOutput {self._listen.host}:{self._listen.port}>"
