"""`ClusterConnection`: one connection to the servers, with the log and the two buckets found and checked."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple, Self

import nats.errors
import nats.js.errors
from attrs import frozen
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from energy_core.clock import SystemClock
from energy_core.printable import printable, printable_class
from energy_core.secret import Secret
from energy_live.cluster.problems import WRONG_SEQUENCE, ClusterError, WrongRevision, explain

_log: Final = logging.getLogger("energy_live.cluster")

STREAM: Final = "ENERGY"
"""The log."""
LEASES: Final = "energy-leases"
"""Bucket whose entries expire: which host holds which account, and which hosts are alive."""
POSITIONS: Final = "energy-positions"
"""Bucket of what outlives a host: positions, rate limits, and which hosts are drained."""

_SCHEMES: Final = ("nats://", "tls://", "ws://", "wss://")
_PING_S: Final = 3
_ANSWER_S: Final = 3.0
"""Seconds for one answer of a server. An election among servers takes longer; the caller asks again."""
_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may wait for a connection; callers limit themselves to less."""


@printable_class
@frozen(kw_only=True)
class ServerLogin:
    """Who we are to the servers; nothing of it is printed."""

    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    creds: str | None = None
    """Path of a file with a user's JWT and seed, as `nsc` writes it."""
    ca: str | None = None
    """Path of the certificate authority that signed the servers' certificates; default: the system's."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS and NATS_CA; empty ones are not set."""

        def text(name: str) -> str | None:
            return environment.get(name, "").strip() or None

        password, token = text("NATS_PASSWORD"), text("NATS_TOKEN")
        return cls(
            user=text("NATS_USER"),
            password=None if password is None else Secret(password),
            token=None if token is None else Secret(token),
            creds=text("NATS_CREDS"),
            ca=text("NATS_CA"),
        )


class BucketEntry(NamedTuple):
    """The last value of a key."""

    value: bytes
    revision: int
    time: datetime
    """When it was written, by the server's clock."""
    deleted: bool


def servers_of(url: str) -> list[str]:
    """Split the addresses of servers.

    Raises:
        ValueError: There is none, or one is not an address; the message has no credential.
    """
    servers = [each.strip() for each in url.split(",") if each.strip()]
    if not servers or not all(each.startswith(_SCHEMES) for each in servers):
        raise ValueError("a cluster needs addresses such as nats://10.0.0.5:4222, with commas between them")
    return servers


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
        context = await _tls(login.ca) if login.ca else None
        self = cls(Client(), stream)
        warned = False
        clock = SystemClock()
        deadline = None if patience_s is None else clock.monotonic() + patience_s
        while True:
            try:
                await self._connect(servers, login, context, name)
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
        self, servers: list[str], login: ServerLogin, context: ssl.SSLContext | None, name: str
    ) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self.client.connect(
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
                )
        except (OSError, nats.errors.Error, TimeoutError) as error:
            with suppress(Exception):
                await self.client.close()
            reason = self.problem or str(error) or type(error).__name__
            refused = "Authorization" in reason or "authorization" in reason
            advice = "check NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDS" if refused else reason
            message = "the NATS server refuses our credential" if refused else "no NATS server answers"
            raise ClusterError(f"{message}: {advice}", permanent=refused) from None
        except BaseException:
            with suppress(Exception):
                await self.client.close()
            raise

    async def aclose(self) -> None:
        """Close the connection; what was published before is sent."""
        with suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                if self.client.is_connected:
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

    # --- problems ------------------------------------------------------------------------------------------

    def denied(self, subject: str) -> bool:
        """Return whether the server has refused us to publish on a subject."""
        return any(subject in each for each in self._denied)

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
        text = str(error) or type(error).__name__
        self.problem = text.removeprefix("nats: ")
        if "ermissions" in text:
            self._denied = [*self._denied[-15:], self.problem]

    async def _on_disconnected(self) -> None:
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


async def _tls(ca: str) -> ssl.SSLContext:
    try:
        return await asyncio.to_thread(ssl.create_default_context, cafile=ca)
    except OSError as error:
        raise ClusterError(
            f"NATS_CA: {ca} cannot be used: {error.strerror or error}", permanent=True
        ) from None


def names(found: Sequence[str]) -> str:
    """Return names for a message, at most ten of them."""
    return ", ".join(sorted(found)[:10]) + (" and more" if len(found) > 10 else "")
