"""`PageOutput`: the live page and its relay as an output of the service (`--web`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_live.display.output import SiteName
from energy_live.outputs.output import OutputError
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.serve import with_names
from energy_live.web.server import WebServer


class PageOutput:
    """Serves the live page and the stream to browsers and other programs.

    It keeps no position: after a restart the page begins with what the services deliver then.

    Args:
        options: Where to listen, and the token of clients.
        names: Returns names and time zones of sites and products, by vendor and number.
        clock: Source of time.

    Raises:
        ValueError: The options would let others read without a token or without TLS.
    """

    idempotent = True

    def __init__(
        self, options: ListenOptions, names: Callable[[], Mapping[tuple[str, str], SiteName]], clock: Clock
    ) -> None:
        options.check()
        self._options, self._names, self._clock = options, names, clock
        self._stack = AsyncExitStack()
        self._server: WebServer | None = None

    async def open(self) -> Checkpoint:
        """Listen, and return an empty position: the page begins with the present.

        Raises:
            OutputError: The address is in use or not permitted, or a file of TLS cannot be read.
        """
        await self.close()
        homes = Homes(with_names([], self._names()), discover=True, clock=self._clock)
        server = WebServer(self._options, homes, clock=self._clock)
        try:
            self._server = await self._stack.enter_async_context(server)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            where = f"{self._options.host} port {self._options.port}"
            raise OutputError(f"cannot listen on {where}: {reason}") from None
        return Checkpoint()

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:  # noqa: ARG002  (keeps none)
        """Pass a batch on to every client that is connected.

        Raises:
            OutputError: It is not open.
        """
        if self._server is None:
            raise OutputError("the page is not open")
        self._server.publish(batch)

    async def close(self) -> None:
        """Close all streams and stop listening."""
        self._server = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    @printable
    def __repr__(self) -> str:
        return f"<PageOutput on port {self._options.port}>"
