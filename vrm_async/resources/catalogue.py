"""The catalogue of data attributes: what a code means, at which device, in which kind of value.

The package brings every row of both versions of the vendor's tables. They were scanned, and are a hint where
the two differ; `refresh` loads what the service itself says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from energy_core.codec.coerce import integer, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.errors import DecodeError
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from energy_core.printable import printable
from vrm_async.codes import named, unit_of
from vrm_async.decoding.php import by_key

DATA_ATTRIBUTES: Final = Operation(
    vendor="vrm", name="catalogue.refresh", method="GET", path="data-attributes", repeatable=True
)

MARKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "disagree": "the two texts give this row different codes: one of them was scanned wrongly",
        "alike": "both texts may be wrong: l and I, or 0 and O, look alike in them",
        "service": "the service was seen to spell the code in another way",
    }
)
"""Why a row is to be doubted."""


@frozen(kw_only=True)
class DataAttribute:
    """One row. A code is case-sensitive, and only together with the device type does it mean one thing."""

    code: str
    """VRM's short name, such as ``bs``; ``Gc`` and ``gc`` are two."""
    description: str
    """VRM's English name."""
    device_type: str | None = None
    """The kind of device, such as ``Battery Monitor``; None where only the service knows the row."""
    data_type: str | None = None
    """float, enum or string."""
    energy: bool = False
    """Whether the table lists it among the energy readings, which `stats` adds up."""
    id: int | None = None
    """VRM's idDataAttribute; only the service tells it."""
    format: str | None = None
    """VRM's sprintf pattern with the unit; only the service tells it."""
    in_newer: bool = False
    """Whether the newer version of the vendor's table has the row."""
    in_older: bool = False
    """Whether the older one has it, word for word."""
    mark: str | None = None
    """Why to doubt the code, a key of `MARKS`; None where nothing speaks against it."""
    readings: tuple[str, ...] = ()
    """How else the code may be spelt: in the other text, at the service, or as its letters suggest."""

    @property
    def key(self) -> tuple[str | None, str]:
        """Device type and code. Even these are shared by two rows of the fuel cell, ``fcP``."""
        return self.device_type, self.code

    @property
    def unit(self) -> str | None:
        """The unit in `format`."""
        return named(unit_of(self.format))


@lru_cache(maxsize=1)
def shipped() -> tuple[DataAttribute, ...]:
    """Return every row of both tables; read at the first call."""
    lines = (files("vrm_async") / "data" / "attributes.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_row(line) for line in lines[1:])


def _row(line: str) -> DataAttribute:
    section, device, kind, description, code, texts, mark, reading = line.split("\t")
    return DataAttribute(
        code=code,
        description=description,
        device_type=device,
        data_type=kind,
        energy=section == "energy",
        in_newer=texts != "older",
        in_older=texts != "newer",
        mark=mark or None,
        readings=tuple(reading.split(",")) if reading else (),
    )


class Catalogue:
    """A searchable collection of rows; without any given, the package's own, read when first needed."""

    def __init__(self, rows: Iterable[DataAttribute] | None = None) -> None:
        self._rows = None if rows is None else tuple(rows)
        self._codes: dict[str, tuple[DataAttribute, ...]] = {}

    @property
    def rows(self) -> tuple[DataAttribute, ...]:
        """All rows, in the vendor's order."""
        return shipped() if self._rows is None else self._rows

    def __iter__(self) -> Iterator[DataAttribute]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def search(self, words: str, *, device_type: str | None = None) -> tuple[DataAttribute, ...]:
        """Return the rows that have all the words in description, device type or code, whatever their case.

        Rows whose code is exactly that text, case and all, come first.
        """
        wanted = words.casefold().split()
        if not wanted:
            raise ValueError("words must not be empty")
        found = [
            row
            for row in self.rows
            if device_type in {None, row.device_type} and all(word in _words(row) for word in wanted)
        ]
        return tuple(sorted(found, key=lambda row: row.code != words))

    def by_code(self, code: str) -> tuple[DataAttribute, ...]:
        """Return every row of a code, case-sensitive: several devices may share one."""
        if not self._codes:
            self._codes = _by_code(self.rows)
        return self._codes.get(code, ())

    def find(self, device_type: str, code: str) -> tuple[DataAttribute, ...]:
        """Return the rows of a device type and code; nearly always one."""
        return tuple(row for row in self.by_code(code) if row.device_type == device_type)

    def by_id(self, attribute_id: int) -> DataAttribute | None:
        """Return the row of VRM's idDataAttribute; there is none before `refresh`."""
        return next((row for row in self.rows if row.id == attribute_id), None)

    @property
    def device_types(self) -> tuple[str, ...]:
        """Every kind of device, in the vendor's order."""
        return tuple(dict.fromkeys(row.device_type for row in self.rows if row.device_type is not None))

    def _replace(self, rows: tuple[DataAttribute, ...]) -> None:
        self._rows = rows
        self._codes = {}

    @printable
    def __repr__(self) -> str:
        unread = self._rows is None and not shipped.cache_info().currsize
        return f"<{type(self).__name__}: {'not read yet' if unread else f'{len(self)} rows'}>"


class CatalogueResource(Catalogue):
    """The catalogue of a client: the package's rows until `refresh` has loaded the service's."""

    def __init__(self, api: ApiClient) -> None:
        super().__init__()
        self._api = api

    async def refresh(self) -> Catalogue:
        """Load the service's own list, look up in it from now on, and return it.

        Its rows have ids and formats. They have no device type; where code and description name a row of the
        package's tables, its device type is taken over.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/data-attributes
        """
        rows = await self._api.call(DATA_ATTRIBUTES, service_rows)
        self._replace(rows)
        return Catalogue(rows)


def service_rows(payload: JSON) -> tuple[DataAttribute, ...]:
    """Read ``data-attributes``: a mapping of id to row, without an envelope.

    Raises:
        DecodeError: nothing in the answer is a row.
    """
    records = by_key(payload)
    for envelope in ("records", "data"):
        if isinstance(records.get(envelope), dict | list):
            records = by_key(records[envelope])
    rows = tuple(row for key, record in records.items() if (row := _service_row(key, record)) is not None)
    if not rows:
        raise DecodeError("the answer has no data attributes", kind="shape")
    return rows


def _service_row(key: str, record: object) -> DataAttribute | None:
    told = by_key(record) if isinstance(record, Mapping) else {}
    code = text(told.get("code"))
    number = integer(told.get("idDataAttribute", key))
    if not code or number is None:
        if key != "success":
            report("DataAttribute", "record", "malformed")
        return None
    description = text(told.get("description")) or ""
    row = DataAttribute(
        code=code,
        description=description,
        id=number,
        data_type=text(told.get("dataType")),
        format=text(told.get("formatWithUnit")),
    )
    return _placed(row)


def _placed(row: DataAttribute) -> DataAttribute:
    """Give a row of the service the device type of the one row of the tables that it can be."""
    alike = shipped_by_code().get(row.code, ())
    same = [known for known in alike if known.description.casefold() == row.description.casefold().strip()]
    likely = same or alike
    if len({known.device_type for known in likely}) != 1:
        return row
    return evolve(row, device_type=likely[0].device_type, energy=any(known.energy for known in likely))


@lru_cache(maxsize=1)
def shipped_by_code() -> Mapping[str, tuple[DataAttribute, ...]]:
    """Return the rows of `shipped` by their code."""
    return _by_code(shipped())


def _by_code(rows: Iterable[DataAttribute]) -> dict[str, tuple[DataAttribute, ...]]:
    found: dict[str, list[DataAttribute]] = {}
    for row in rows:
        found.setdefault(row.code, []).append(row)
    return {code: tuple(listed) for code, listed in found.items()}


def _words(row: DataAttribute) -> str:
    return f"{row.description} {row.device_type or ''} {row.code}".casefold()
