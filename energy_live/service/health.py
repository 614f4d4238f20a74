"""`/healthz` and `/status` over HTTP, and the line that systemd shows.

`/healthz` answers 200, and 503 while a source is disconnected or has ended, or an output cannot be written.
A stale site alone is no fault of the service. `/status` is JSON: the state of each source and output, what is
stale, what waits and what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from energy_core.stream.status import SourceStatus
from energy_core.stream.vocabulary import SourceId, State
from energy_live.outputs.feed_status import OutputState, OutputStatus
from energy_live.runner import UsageError

_SICK_SOURCE: Final = frozenset({State.DISCONNECTED, State.AUTH_FAILED, State.FAILED})
_SICK_OUTPUT: Final = frozenset({OutputState.WAITING, OutputState.FAILED})

Sources = Mapping[SourceId, SourceStatus]
Outputs = Mapping[str, OutputStatus]
Health = tuple[Sources, Outputs, datetime]
"""The states of all sources and outputs, and the present time."""


def problems(sources: Sources, outputs: Outputs, *, stale: bool = True) -> list[str]:
    """Return what does not work, one line each; with `stale`, also what has no fresh data."""
    found = [
        f"{source}: {status.state}{f', {status.reason}' if status.reason else ''}"
        for source, status in sources.items()
        if status.state in _SICK_SOURCE or (stale and status.state is State.STALE)
    ]
    found += [
        f"output {name}: {status.state}, {status.reason}"
        for name, status in outputs.items()
        if status.state in _SICK_OUTPUT
    ]
    return found


def summary(sources: Sources, outputs: Outputs) -> str:
    """Return one line about everything."""
    found = problems(sources, outputs)
    written = sum(status.written for status in outputs.values())
    state = f"{len(found)} problems: {found[0]}" if found else "all is well"
    return f"{len(sources)} sources, {len(outputs)} outputs, {written} readings written; {state}"


def status_document(sources: Sources, outputs: Outputs, now: datetime) -> dict[str, Any]:
    """Return the body of `/status`; docs/reference/config.md describes its members."""
    return {
        "time": now.isoformat(),
        "problems": problems(sources, outputs),
        "sources": {
            str(source): {
                "state": status.state,
                "since": status.since.isoformat(),
                "reason": status.reason,
                "retry_in": status.retry_in,
                "readings": status.readings,
                "last": None if status.last is None else status.last.isoformat(),
                "quiet_s": status.quiet_s,
                "gaps": status.gaps,
                "dropped": status.dropped,
                "refused": status.refused,
                "pending": [[start.isoformat(), end.isoformat()] for start, end in status.pending],
                "notes": dict(status.notes),
            }
            for source, status in sources.items()
        },
        "outputs": {
            name: {
                "state": status.state,
                "since": status.since.isoformat(),
                "reason": status.reason,
                "retry_in": status.retry_in,
                "written": status.written,
                "written_at": None if status.written_at is None else status.written_at.isoformat(),
                "newest": None if status.newest is None else status.newest.isoformat(),
                "pending": status.pending,
                "waiting_s": status.waiting_s,
                "lost": status.lost,
                "gaps": status.gaps,
                "refused": status.refused,
                "failures": status.failures,
            }
            for name, status in outputs.items()
        },
    }


class HealthServer:
    """Answers `/healthz` and `/status` while the context is open.

    Args:
        host: Address to listen on.
        port: Port; 0: a free one.
        snapshot: Returns the states of sources and outputs, and the present time.
    """

    def __init__(self, host: str, port: int, snapshot: Callable[[], Health]) -> None:
        self._host, self._port = host, port
        self._snapshot = snapshot
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            UsageError: The address is in use or not permitted.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/status", self._status)
        runner = self._runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(
                f"health: cannot listen on {self._host}:{self._port}, {error.strerror or error}; choose "
                "another address with --health HOST:PORT, or none with --health ''"
            ) from None
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        sources, outputs, _now = self._snapshot()
        found = problems(sources, outputs, stale=False)
        text = "\n".join(found) or "ok"
        return web.Response(text=f"{text}\n", status=503 if found else 200)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(status_document(*self._snapshot()))
