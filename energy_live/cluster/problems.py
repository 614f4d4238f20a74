"""Errors of NATS as one line each that says what to do."""

from __future__ import annotations

import asyncio
from typing import Final

import nats.errors
import nats.js.errors

from energy_core.errors import StreamError

_FULL: Final = frozenset({10023, 10028, 10047, 10077, 10114, 10122})
"""Error codes of servers and streams that have no room, and of limits of an account."""
NO_JETSTREAM: Final = frozenset({10035, 10039, 10076})
"""Error codes of a server, or an account of it, without JetStream."""
WRONG_SEQUENCE: Final = frozenset({10071, 10164})
"""Error codes of a write that expected another last entry."""
_OVERLAP: Final = 10065
_UNAVAILABLE: Final = frozenset({500, 503})


class ClusterError(StreamError):
    """A server of the cluster cannot be used; the message says what to do.

    Args:
        message: One line, without a credential.
        permanent: Whether only a person can help, such as with a missing permission.
        code: NATS's own code of the error, if it answered with one.
    """

    def __init__(self, message: str, *, permanent: bool = False, code: int | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the attributes in copies."""
        return (type(self), self.args, {"permanent": self.permanent, "code": self.code})


class WrongRevision(ClusterError):
    """A key has another revision than expected: another host has written it."""


def raise_if_cancelled() -> None:
    """Raise CancelledError in a task that was cancelled: nats-py swallows a cancellation in a few places.

    For loops that try again; not for clean-up, which runs in a cancelled task.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def explain(error: Exception, doing: str, *, denied: str, connected: bool) -> ClusterError:
    """Return what an error of NATS means.

    Args:
        error: An error that nats-py raised.
        doing: What failed.
        denied: What the server said when it refused a subject, which it does beside the answer; else empty.
        connected: Whether a server is connected now.
    """
    if isinstance(error, ClusterError):
        return error
    if isinstance(error, nats.js.errors.APIError) and not isinstance(
        error, nats.js.errors.NoStreamResponseError
    ):
        return _explain_answer(error, doing)
    if isinstance(error, TimeoutError) and denied:
        return ClusterError(
            f"{doing}: no permission, the server says {denied!r}; docs/how-to/cluster.md has the permissions "
            "of a collector and of a consumer",
            permanent=True,
        )
    if isinstance(error, nats.js.errors.NoStreamResponseError | nats.errors.NoRespondersError):
        reason = "no server leads this stream now"
    elif isinstance(error, nats.errors.OutboundBufferLimitError) or not connected:
        reason = "no NATS server is connected"
    elif isinstance(error, TimeoutError):
        reason = "no answer in time"
    else:
        reason = str(error).removeprefix("nats: ") or type(error).__name__
    return ClusterError(f"{doing}: {reason}")


def _explain_answer(error: nats.js.errors.APIError, doing: str) -> ClusterError:
    code, text = error.err_code, error.description or "the server is not available"
    if code in _FULL:
        return ClusterError(
            f"{doing}: the server is full ({text}): raise its limits (max_file_store, max_bytes) or shorten "
            "max_age; trying again",
            code=code,
        )
    if code == _OVERLAP:
        return ClusterError(
            f"{doing}: another stream has the same subjects: change that one, or name it with --stream",
            permanent=True,
            code=code,
        )
    return ClusterError(f"{doing}: {text}", permanent=error.code not in _UNAVAILABLE, code=code)
