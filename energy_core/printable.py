"""Makes `repr` safe for half-initialised objects, which tracebacks with local variables print."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")


def printable(method: Callable[[T], str]) -> Callable[[T], str]:
    """Decorate a `__repr__` so that it works on an object whose `__init__` raised or was not called."""

    @wraps(method)
    def __repr__(self: T) -> str:  # noqa: N807  (the class's)
        try:
            return method(self)
        except AttributeError:
            return f"<{type(self).__name__}, not initialised>"

    return __repr__


def printable_class(kind: type[T]) -> type[T]:
    """Do the same for a class with a generated `__repr__`; written above ``@frozen``."""
    kind.__repr__ = printable(kind.__repr__)  # type: ignore[method-assign]
    return kind
