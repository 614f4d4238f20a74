"""Export of columns through the Arrow C stream interface, for polars, pandas, duckdb and pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Final, Protocol

from attrs import field, frozen

MISSING: Final = "tables need pyarrow, which is not installed: pip install 'energy-live[arrow]'"


@frozen
class ArrowColumn:
    """One column of an exported table."""

    name: str
    kind: str
    """`time` (milliseconds, UTC), `float`, `int` or `text`."""
    values: Sequence[object]
    about: Mapping[str, str | None] = field(factory=dict)
    """Metadata of the Arrow field; None values are left out."""


class Stream(Protocol):
    """A capsule of the Arrow PyCapsule interface; only the consuming library reads it."""


def stream(columns: Iterable[ArrowColumn], requested_schema: object = None) -> Stream:
    """Return a PyCapsule with the columns as one table.

    Raises:
        ModuleNotFoundError: pyarrow is not installed; the message names the extra ``arrow``.
    """
    pa = _pyarrow()  # before the columns are made, which takes time
    listed = list(columns)
    schema = pa.schema([_field(pa, column) for column in listed])
    arrays = [_array(pa, column) for column in listed]
    capsule: Stream = pa.Table.from_arrays(arrays, schema=schema).__arrow_c_stream__(requested_schema)
    return capsule


def _pyarrow() -> ModuleType:
    try:
        import pyarrow as pa  # noqa: PLC0415  (optional, and slow to import)
    except ImportError:
        raise ModuleNotFoundError(MISSING, name="pyarrow") from None
    module: ModuleType = pa
    return module


def _type(pa: ModuleType, kind: str) -> object:
    if kind == "time":
        return pa.timestamp("ms", tz="UTC")
    return {"float": pa.float64, "int": pa.int64, "text": pa.string}[kind]()


def _field(pa: ModuleType, column: ArrowColumn) -> object:
    metadata = {name: value for name, value in column.about.items() if value is not None}
    return pa.field(column.name, _type(pa, column.kind), metadata=metadata or None)


def _array(pa: ModuleType, column: ArrowColumn) -> object:
    values = column.values
    if column.kind == "float" and int in set(map(type, values)):
        # VRM sends 5 for 5.0, and Arrow rejects integers that a float cannot hold exactly.
        values = [None if value is None else float(value) for value in values]  # type: ignore[arg-type]
    return pa.array(values, type=_type(pa, column.kind))
