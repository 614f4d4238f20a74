"""Checks of callers' arguments that only VoltStorage needs; the general ones are in `energy_core.checks`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from energy_core.checks import aware, boolean, entity_id, finite, ids, several, text
from energy_core.http.operation import Query
from energy_core.local_days import TimeRange, zone_or_utc
from voltstorage_async.models import Product

_MICROSECOND: Final = timedelta(microseconds=1)


def product_id(product: Product | int) -> int:
    """Return the id of a product, which is given as a `Product` or as its id.

    Raises:
        TypeError: `product` is neither.
        ValueError: The id is negative.
    """
    return entity_id("product", product, Product)


def product_ids(products: Product | int | Iterable[Product | int]) -> list[int]:
    """Return the ids of one or several products."""
    return ids("ids", [products] if isinstance(products, Product | int) else products, Product)


def resolve(
    asked: TimeRange, product: Product | int | None, now: datetime, *, end_included: bool = False
) -> tuple[datetime | None, datetime | None]:
    """Return start and end of a range; a side that was left open is None.

    Args:
        asked: The range as the caller gave it.
        product: Whose local days count: those of its time zone. UTC if it is an id, or its zone is unknown.
        now: The present moment.
        end_included: Whether the service includes the end; then a period ends a microsecond before midnight.
    """
    zone: tzinfo = UTC
    if asked.needs_zone and isinstance(product, Product):
        zone = zone_or_utc(product.timezone)
    start, end = asked.resolve(now, zone)
    if asked.period is not None and end is not None and end_included:
        end -= _MICROSECOND
    return start, end


def since(value: datetime | None) -> datetime | None:
    """Return the aware moment from which a stream begins."""
    return None if value is None else aware("since", value)


def not_negative(name: str, value: object) -> float:
    """Return a finite number that is not negative, as a float."""
    number = finite(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return float(number)


def flag(name: str, value: object) -> str:
    """Return a bool as the vendor spells it in a query."""
    return "true" if boolean(name, value) else "false"


def names(name: str, value: object) -> str:
    """Return one or several names as the comma-separated list that the vendor expects."""
    given = [value] if isinstance(value, str) else list(several(name, value))
    if not given:
        raise ValueError(f"{name} must not be empty")
    return ",".join(text(name, each) for each in given)


def unix(moment: datetime) -> str:
    """Return unix seconds, with a fraction only if there is one."""
    return f"{moment.timestamp():.6f}".rstrip("0").rstrip(".")


def query_without_place(path: str, **values: int | str) -> Query:
    """Return the values that the path has no place for, as query parameters."""
    return [(name, str(value)) for name, value in values.items() if f"{{{name}}}" not in path]
