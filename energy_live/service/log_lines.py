"""The log of the service on stderr: one line a record, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLogFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        members = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members)


class LineFormatter(logging.Formatter):
    """Formats a record as text; line ends in a message become spaces, so that no line can be forged."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        message = "".join(char if char.isprintable() else " " for char in record.getMessage())
        line = f"energy-live: {record.levelname.lower()}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_log(form: str, level: str) -> None:
    """Send the log of this process to stderr.

    Args:
        form: `text` or `json`.
        level: The least level that is shown: `debug`, `info`, `warning` or `error`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLogFormatter() if form == "json" else LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
