"""`ClusterConnection`: one connection to the servers, with the log and the two buckets found and checked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple, Self

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from energy_core.clock import SystemClock
from energy_core.printable import printable
from energy_live.cluster.login import ServerLogin, servers_of, trusting
from energy_live.cluster.problems import WRONG_SEQUENCE, ClusterError, WrongRevision, explain

_log: Final = logging.getLogger("energy_live.cluster")

STREAM: Final = "ENERGY"
"""The log."""
LEASES: Final = "energy-leases"
"""Bucket whose entries expire: which host holds which account, and which hosts are alive."""
POSITIONS: Final = "energy-positions"
"""Bucket of what outlives a host: positions, rate limits, and which hosts are drained."""

_PING_S: Final = 3
_CONNECT_S: Final = 5.0
_CLOSE_S: Final = 3.0
_SILENT_S: Final = 8.0
"""Seconds without any answer of a connected server, after which another one is tried."""
_ANSWER_S: Final = 3.0
"""Seconds for one answer of a server. An election among servers takes longer; the caller asks again."""
_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may wait for a connection; callers limit themselves to less."""


class BucketEntry(NamedTuple):
    """The last value of a key."""

    value: bytes
    revision: int
    time: datetime
    """When it was written, by the server's clock."""
    deleted: bool


class ClusterConnection:
    """A connection that comes back by itself after an outage. Made by `connect`.

    Args:
        client: Not connected yet.
        stream: Name of the log.
    """

    def __init__(self, client: Client, stream: str) -> None:
        self.client: Final = client
        self.js: Final[JetStreamContext] = client.jetstream(timeout=_ANSWER_S)
        self.stream: Final = stream
        self.lease_s = 15.0
        """Seconds that a lease lives, as the bucket says."""
        self.reconnects = 0
        self.problem: str = ""
        """What the connection failed with last."""
        self._closing = False
        self._clock = SystemClock()
        self._silent_since: float | None = None
        self._refused = asyncio.Event()
        self._denied: list[str] = []
        self._replies: dict[str, Callable[[Msg], None]] = {}
        self._inbox = ""
        self._number = 0

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        login: ServerLogin | None = None,
        name: str = "energy-live",
        stream: str = STREAM,
        patience_s: float | None = 10.0,
    ) -> Self:
        """Connect to one of the servers. Cancelling is safe.

        Args:
            url: Addresses, with commas between them.
            login: Who we are.
            name: Shown by the server.
            stream: Name of the log.
            patience_s: Seconds to try; None: until a server answers.

        Raises:
            ValueError: An address is wrong.
            ClusterError: No server can be reached, or it refuses us.
        """
        servers = servers_of(url)
        login = login or ServerLogin()
        context = await trusting(login.ca) if login.ca else None
        self = cls(Client(), stream)
        warned = False
        clock = SystemClock()
        deadline = None if patience_s is None else clock.monotonic() + patience_s
        while True:
            try:
                limit_s = _CONNECT_S if patience_s is None else min(_CONNECT_S, patience_s)
                await self._connect(servers, login, context, name, limit_s)
                break
            except ClusterError as error:
                if error.permanent or (deadline is not None and clock.monotonic() >= deadline):
                    raise
                if not warned and deadline is None:
                    _log.error("%s; trying again", error)
                warned = True
            await clock.sleep(0.5)
            self = cls(Client(), stream)
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._dispatch)
        return self

    async def _connect(
        self,
        servers: list[str],
        login: ServerLogin,
        context: ssl.SSLContext | None,
        name: str,
        limit_s: float,
    ) -> None:
        connecting = asyncio.create_task(
            self.client.connect(
                servers=servers,
                name=name,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                user=login.user,
                password=None if login.password is None else login.password.reveal(),
                token=None if login.token is None else login.token.reveal(),
                user_credentials=login.creds,
                tls=context,
                connect_timeout=2,
                reconnect_time_wait=1,
                max_reconnect_attempts=-1,
                ping_interval=_PING_S,
                max_outstanding_pings=2,
                pending_size=_PENDING_BYTES,
            ),
            name="energy cluster connect",
        )
        refused = asyncio.create_task(self._refused.wait(), name="energy cluster refused")
        connected = False
        try:
            await asyncio.wait({connecting, refused}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
                connected = True
        except (OSError, nats.errors.Error, TimeoutError) as error:
            self.problem = self.problem or str(error) or type(error).__name__
        finally:
            refused.cancel()
            connecting.cancel()
            await asyncio.wait({connecting, refused})
            if not connected:
                with suppress(Exception):
                    await self.client.close()
        if not connected:
            raise self._no_connection()

    def _no_connection(self) -> ClusterError:
        reason = self.problem or "no answer"
        if "uthorization" in reason:
            return ClusterError(
                "the NATS server refuses our credential: check NATS_USER and NATS_PASSWORD, NATS_TOKEN or "
                "NATS_CREDS",
                permanent=True,
            )
        if "ertificate" in reason or "CERTIFICATE" in reason:
            return ClusterError(
                f"the certificate of the NATS server cannot be verified ({reason}): NATS_CA names the "
                "authority that signed it",
                permanent=True,
            )
        return ClusterError(f"no NATS server answers: {reason}")

    async def aclose(self) -> None:
        """Close the connection; what was published before is sent. Takes a few seconds at most."""
        self._closing = True
        closing = asyncio.create_task(self._close(), name="energy cluster close")
        try:
            await asyncio.wait({closing}, timeout=_CLOSE_S)
        finally:
            closing.cancel()

    async def _close(self) -> None:
        if self.client.is_connected:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                await self.client.flush(timeout=1)
        with suppress(Exception):  # of a connection that is broken already
            await self.client.close()

    @property
    def is_connected(self) -> bool:
        """Whether a server is connected now."""
        return self.client.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by us or for good by the server, as after a revoked credential."""
        return self.client.is_closed

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes."""
        return self.client.max_payload

    # --- keys ----------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> BucketEntry | None:
        """Return the last value of a key, as the leading server knows it; None if there is none.

        Raises:
            ClusterError: The server did not answer, or refuses.
        """
        try:
            found = await self.js.get_msg(f"KV_{bucket}", subject=f"$KV.{bucket}.{key}")
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise self.explain(error, f"reading {bucket}") from None
        self._silent_since = None
        return _entry(found.data, found.seq, found.time, found.headers)

    async def put(
        self, bucket: str, key: str, value: bytes, *, last: int | None = None, timeout_s: float = _ANSWER_S
    ) -> int:
        """Write a key; return the new revision.

        Args:
            bucket: The bucket.
            key: The key.
            value: The value; empty and `last` given: the key is removed.
            last: The revision that is replaced, 0 for a new key; None: whatever is there.
            timeout_s: Seconds to wait for the answer.

        Raises:
            WrongRevision: Another one is there.
            ClusterError: The server did not answer, so that it is unknown whether it was written; or refuses.
        """
        headers = {} if last is None else {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(last)}
        if not value:
            headers["KV-Operation"] = "DEL"
        try:
            ack = await self.js.publish(
                f"$KV.{bucket}.{key}", value, timeout=timeout_s, headers=headers or None
            )
        except nats.js.errors.APIError as error:
            if error.err_code in WRONG_SEQUENCE:
                raise WrongRevision(f"{key} was changed by another host", code=error.err_code) from None
            raise self.explain(error, f"writing {bucket}") from None
        except (nats.errors.Error, TimeoutError) as error:
            raise self.explain(error, f"writing {bucket}", subject=f"$KV.{bucket}.{key}") from None
        self._silent_since = None
        return ack.seq

    async def values(self, bucket: str, keys: str = ">") -> dict[str, BucketEntry]:
        """Return the last values of many keys in one request; any server may answer.

        A server that is behind may answer with older ones: a write that follows must name the revision.

        Raises:
            ClusterError: The server did not answer completely, or refuses.
        """
        found: dict[str, BucketEntry] = {}
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        prefix = f"$KV.{bucket}."

        def take(message: Msg) -> None:
            headers = message.headers or {}
            status = headers.get("Status")
            if status is not None:
                if not done.done():
                    done.set_result("" if status in {"204", "404"} else headers.get("Description", status))
                return
            time = api.Base._parse_utc_iso(headers["Nats-Time-Stamp"])  # noqa: SLF001  (of nanoseconds)
            entry = _entry(message.data, int(headers["Nats-Sequence"]), time, headers)
            found[headers["Nats-Subject"].removeprefix(prefix)] = entry

        reply = self.on_reply(take)
        try:
            request = json.dumps({"multi_last": [f"{prefix}{keys}"]}).encode()
            await self.client.publish(f"$JS.API.DIRECT.GET.KV_{bucket}", request, reply=reply)
            async with asyncio.timeout(_ANSWER_S):
                problem = await done
        except (nats.errors.Error, TimeoutError) as error:
            raise self.explain(error, f"reading {bucket}") from None
        finally:
            self.forget(reply)
        self._silent_since = None
        if problem:
            raise ClusterError(f"the server cannot list the bucket {bucket}: {problem}")
        return found

    # --- replies -------------------------------------------------------------------------------------------

    def on_reply(self, take: Callable[[Msg], None]) -> str:
        """Return a new reply subject; `take` is called with each message on it until `forget`."""
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        self._replies[reply] = take
        return reply

    def forget(self, reply: str) -> None:
        """Stop calling for a reply subject."""
        self._replies.pop(reply, None)

    async def _dispatch(self, message: Msg) -> None:
        take = self._replies.get(message.subject)
        if take is not None:
            take(message)

    async def watch(self) -> None:
        """Note that a server did not answer in time: after a while without any answer, try another server.

        A server that has lost the others still answers pings, so that the connection itself looks right.
        """
        now = self._clock.monotonic()
        if not self.client.is_connected:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > _SILENT_S:
            self._silent_since = None
            _log.warning("the NATS server is connected and does not answer: trying another one")
            await self.client.force_reconnect()

    # --- problems ------------------------------------------------------------------------------------------

    def denied(self, subject: str) -> bool:
        """Return whether the server has refused us to publish on a subject."""
        return any(subject.lower() in each.lower() for each in self._denied)

    def explain(self, error: Exception, doing: str, subject: str = "") -> ClusterError:
        """Return what an error of NATS means, in one line that says what to do.

        Args:
            error: An error that nats-py raised.
            doing: What failed.
            subject: What was published on, if the server may have refused that.
        """
        denied = self._denied[-1] if self._denied and (not subject or self.denied(subject)) else ""
        return explain(error, doing, denied=denied, connected=self.client.is_connected)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, ConnectionError) and error.errno:  # asyncio's own text names no reason
            text = os.strerror(error.errno)
        else:
            text = (error.strerror if isinstance(error, OSError) else "") or str(error)
            text = text or type(error).__name__
        self.problem = text.removeprefix("nats: ")
        if "uthorization" in text or isinstance(error, ssl.SSLError):
            self._refused.set()  # nats-py would go on trying
        if "ermissions" in text:
            self._denied = [*self._denied[-15:], self.problem]

    async def _on_disconnected(self) -> None:
        if not self._closing:
            _log.info("the connection to NATS is lost; trying again")

    async def _on_reconnected(self) -> None:
        self.reconnects += 1

    @printable
    def __repr__(self) -> str:
        return f"<ClusterConnection {'connected' if self.client.is_connected else 'not connected'}>"


def _entry(
    data: bytes | None, revision: int | None, time: datetime | None, headers: Mapping[str, str] | None
) -> BucketEntry:
    if revision is None or time is None:
        raise ClusterError(
            "the server's answer has no revision: it is too old, use nats-server 2.11 or later"
        )
    deleted = (headers or {}).get("KV-Operation") in {"DEL", "PURGE"}
    return BucketEntry(data or b"", revision, time, deleted)


def names(found: Sequence[str]) -> str:
    """Return names for a message, at most ten of them."""
    return ", ".join(sorted(found)[:10]) + (" and more" if len(found) > 10 else "")
