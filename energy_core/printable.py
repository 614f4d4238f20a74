"""Objects that are not whole can be printed: a traceback with local variables shows such ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")


def printable(method: Callable[[T], str]) -> Callable[[T], str]:
    """Let a `__repr__` work on an object whose `__init__` raised, or was bypassed."""

    @wraps(method)
    def __repr__(self: T) -> str:  # noqa: N807  (what it is to the class)
        try:
            return method(self)
        except AttributeError:
            return f"<{type(self).__name__}, not initialised>"

    return __repr__


def printable_class(kind: type[T]) -> type[T]:
    """Do the same for a class whose `__repr__` was generated: above ``@frozen``."""
    kind.__repr__ = printable(kind.__repr__)  # type: ignore[method-assign]
    return kind
