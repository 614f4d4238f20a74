"""Counts schema drift: data that a vendor sent and its documents do not describe.

Such data is never an error. An unreadable field becomes None or its default, an unreadable record is left out
of its list, and both are counted in the `Drift` of the client.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from threading import Lock
from types import MappingProxyType
from typing import Final, TypeAlias

from energy_core.errors import DecodeError
from energy_core.printable import printable

Key: TypeAlias = tuple[str, str, str]
"""Model, field and problem."""

UNKNOWN: Final = "unknown"
"""The problem of an undocumented key. Nothing is lost: the value is in `raw`."""

_MAX_KEYS: Final = 1000
_NAME_CHARS: Final = 80
_OVERFLOW: Final = ("(others)", "(others)", "not listed")

_log = logging.getLogger("energy_core.drift")


class Drift:
    """Counts by (model, field, problem); each new one is logged once.

    Thread-safe, because large bodies are decoded in threads. At most 1,000 different keys are kept; the rest
    is counted together.

    Args:
        strict: raise `DecodeError` for any drift, for tests.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._counts: dict[Key, int] = {}
        self._lock = Lock()

    def note(self, model: str, field: str, problem: str) -> None:
        """Count one problem.

        Args:
            model: name of the model's class.
            field: name of the field, or the vendor's key.
            problem: such as ``"str instead of float"``.

        Raises:
            DecodeError: `strict` is set; its kind is drift.
        """
        key = (model, _printable(field), problem)
        with self._lock:
            if key not in self._counts and len(self._counts) >= _MAX_KEYS:
                key = _OVERFLOW
            times = self._counts[key] = self._counts.get(key, 0) + 1
        if times == 1:
            level = logging.INFO if problem == UNKNOWN else logging.WARNING
            _log.log(level, "%s.%s: %s; further ones are only counted", *key)
        if self.strict:
            raise DecodeError(f"{key[0]}.{key[1]}: {key[2]}", kind="drift")

    def note_unknown(self, model: str, key: str) -> None:
        """Count an undocumented key, once however often it is sent."""
        if (model, _printable(key), UNKNOWN) not in self._counts:
            self.note(model, key, UNKNOWN)

    @property
    def counts(self) -> Mapping[Key, int]:
        """The counts so far, by (model, field, problem)."""
        with self._lock:
            return MappingProxyType(dict(self._counts))

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return sum(self.counts.values())

    def report(self) -> str:
        """Return the counts as text, one problem a line, the most frequent first."""
        seen = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return "\n".join(
            f"{times:>7} x {model}.{field}: {problem}" for (model, field, problem), times in seen
        )

    @printable
    def __repr__(self) -> str:
        return f"Drift(kinds={len(self._counts)}, total={self.total}, strict={self.strict})"


CURRENT_DRIFT: Final[ContextVar[Drift | None]] = ContextVar("energy_core_drift", default=None)
"""Where `report` counts in this context."""


class collect_drift:  # noqa: N801  (used like a function)
    """Count the drift of a block in `drift`: ``with collect_drift(drift): ...``. Blocks may nest."""

    __slots__ = ("_drift", "_token")

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def __enter__(self) -> Drift:
        self._token = CURRENT_DRIFT.set(self._drift)
        return self._drift

    def __exit__(self, *error: object) -> None:
        CURRENT_DRIFT.reset(self._token)


def current_drift() -> Drift | None:
    """Return the `Drift` of the innermost `collect_drift` block, or None."""
    return CURRENT_DRIFT.get()


def report(model: str, field: str, problem: str) -> None:
    """Count one problem in the `Drift` of the innermost `collect_drift` block; without one, do nothing."""
    drift = CURRENT_DRIFT.get()
    if drift is not None:
        drift.note(model, field, problem)


def _printable(name: str) -> str:
    """Return a vendor's key, escaped and shortened for a log line."""
    return name if name.isprintable() and len(name) <= _NAME_CHARS else repr(name[:_NAME_CHARS])
