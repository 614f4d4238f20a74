"""The redacting logger that websockets writes to: it logs request lines, headers and frames at DEBUG."""

from __future__ import annotations

import logging
from functools import cache
from typing import Final

_PLAIN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "date",
        "host",
        "retry-after",
        "sec-websocket-accept",
        "sec-websocket-version",
        "server",
        "upgrade",
        "user-agent",
    }
)


def _redact(record: logging.LogRecord) -> bool:
    """Keep queries, headers that may be secret, and contents out of what websockets logs."""
    record.__dict__.pop("websocket", None)  # the connection, which knows everything
    record.exc_info = None
    text, args = str(record.msg), record.args if isinstance(record.args, tuple) else ()
    if text.startswith("> GET "):
        record.args = tuple(str(arg).partition("?")[0] for arg in args)
    elif text.startswith("< HTTP/"):
        record.args = (args[0], "")
    elif text.endswith("%s: %s") and str(args[0]).lower() not in _PLAIN_HEADERS:
        record.args = (args[0], "***")
    elif text in {"< %s", "> %s"}:  # a frame: a close may echo the credential in its reason
        record.args = (str(args[0]).partition(" ")[0],)
    return True


@cache
def wire_log() -> logging.Logger:
    """Return the logger for websockets, `energy_core.stream.wire`: DEBUG shows traffic, never a secret."""
    logger = logging.getLogger("energy_core.stream.wire")
    logger.addFilter(_redact)
    return logger
