"""Counting what a vendor sent that its documents do not say.

Dirty data never breaks an answer: a field that cannot be read becomes None or its default, a record that
cannot be read is left out, and each of these is noted here.
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
"""The problem of a key that no document names: the only one where nothing is lost, as `raw` keeps it."""

_MOST_KEYS: Final = 1000
_NAME_CHARS: Final = 80
_OVERFLOW: Final = ("(others)", "(others)", "not listed")

_log = logging.getLogger("energy_core.drift")


class Drift:
    """A tally of (model, field, problem). Every new one is logged once; `strict` raises instead of going on.

    It may be written from several threads, as large bodies are decoded off the event loop. Its size is
    bounded: past 1,000 different keys the rest is counted together.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._counts: dict[Key, int] = {}
        self._lock = Lock()

    def note(self, model: str, field: str, problem: str) -> None:
        """Count one deviation.

        Raises:
            DecodeError: `strict` is on; its kind is drift.
        """
        key = (model, _printable(field), problem)
        with self._lock:
            if key not in self._counts and len(self._counts) >= _MOST_KEYS:
                key = _OVERFLOW
            times = self._counts[key] = self._counts.get(key, 0) + 1
        if times == 1:
            level = logging.INFO if problem == UNKNOWN else logging.WARNING
            _log.log(level, "%s.%s: %s; further ones are only counted", *key)
        if self.strict:
            raise DecodeError(f"{key[0]}.{key[1]}: {key[2]}", kind="drift")

    def note_unknown(self, model: str, key: str) -> None:
        """Count a key no document names, once however often it comes."""
        if (model, _printable(key), UNKNOWN) not in self._counts:
            self.note(model, key, UNKNOWN)

    @property
    def counts(self) -> Mapping[Key, int]:
        """How often each deviation was seen until now."""
        with self._lock:
            return MappingProxyType(dict(self._counts))

    @property
    def total(self) -> int:
        """How many deviations were seen until now."""
        return sum(self.counts.values())

    def report(self) -> str:
        """Say what was seen, the most frequent first, one deviation a line."""
        seen = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return "\n".join(
            f"{times:>7} x {model}.{field}: {problem}" for (model, field, problem), times in seen
        )

    @printable
    def __repr__(self) -> str:
        return f"Drift(kinds={len(self._counts)}, total={self.total}, strict={self.strict})"


_collecting: ContextVar[Drift | None] = ContextVar("energy_core_drift", default=None)


class collect_drift:  # noqa: N801  (read as a word: `with collecting(drift):`)
    """Send the notes of this context to `drift`; the innermost one collects."""

    __slots__ = ("_drift", "_token")

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def __enter__(self) -> Drift:
        self._token = _collecting.set(self._drift)
        return self._drift

    def __exit__(self, *error: object) -> None:
        _collecting.reset(self._token)


def current_drift() -> Drift | None:
    """Return the `Drift` that is collecting in this context."""
    return _collecting.get()


def report(model: str, field: str, problem: str) -> None:
    """Count one deviation in the `Drift` that is collecting; without one, nothing happens."""
    drift = _collecting.get()
    if drift is not None:
        drift.note(model, field, problem)


def _printable(name: str) -> str:
    """Return a vendor's key in a shape that fits into a log line."""
    return name if name.isprintable() and len(name) <= _NAME_CHARS else repr(name[:_NAME_CHARS])
