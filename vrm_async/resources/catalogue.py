"""The catalogue of data attributes: what a code means, at which type of device, with which type of value.

The package contains every row of both versions of VRM's printed tables. The tables were scanned and a few
codes may be wrong; `refresh` loads the service's own list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Final

from attrs import evolve

from energy_core.checks import text as checked_text
from energy_core.codec.coerce import integer, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.errors import DecodeError
from energy_core.http.client import ApiClient
from energy_core.printable import printable
from vrm_async import codes
from vrm_async.codes import Code
from vrm_async.decoding.php import by_key
from vrm_async.models.fleet import DataAttribute
from vrm_async.operations import reads

DATA_ATTRIBUTES: Final = reads("catalogue.refresh", "data-attributes")


@lru_cache(maxsize=1)
def shipped() -> tuple[DataAttribute, ...]:
    """Return every row of the package's tables. Only the first call reads the file."""
    lines = (files("vrm_async") / "data" / "attributes.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_row(line) for line in lines[1:])


def _row(line: str) -> DataAttribute:
    # The last three columns are the row's origin and other spellings of its code; only the tests read them.
    section, device, kind, description, code, *_ = line.split("\t")
    return DataAttribute(
        code=code, description=description, device_type=device, data_type=kind, energy=section == "energy"
    )


class Catalogue:
    """A searchable collection of data attributes.

    Args:
        rows: The attributes; by default those of the package, read from a file at the first use.
    """

    def __init__(self, rows: Iterable[DataAttribute] | None = None) -> None:
        self._rows = None if rows is None else tuple(rows)
        self._codes: dict[str, tuple[DataAttribute, ...]] = {}

    @property
    def rows(self) -> tuple[DataAttribute, ...]:
        """All attributes, in VRM's order."""
        return shipped() if self._rows is None else self._rows

    def __iter__(self) -> Iterator[DataAttribute]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def search(self, words: str, *, device_type: str | None = None) -> tuple[DataAttribute, ...]:
        """Return the attributes that have all words in their description, device type or code.

        Case does not matter. Attributes whose code equals the text, with its case, come first.

        Args:
            words: One or more words, separated by spaces.
            device_type: Only attributes of this type of device.
        """
        wanted = checked_text("words", words).casefold().split()
        found = [
            row
            for row in self.rows
            if device_type in {None, row.device_type} and all(word in _words(row) for word in wanted)
        ]
        return tuple(sorted(found, key=lambda row: row.code != words))

    def by_code(self, code: str) -> tuple[DataAttribute, ...]:
        """Return every attribute of a code, case-sensitive: several device types may share one."""
        if not self._codes:
            self._codes = _by_code(self.rows)
        return self._codes.get(code, ())

    def find(self, device_type: str, code: str) -> tuple[DataAttribute, ...]:
        """Return the attributes of a device type and code; nearly always one."""
        return tuple(row for row in self.by_code(code) if row.device_type == device_type)

    def by_id(self, attribute_id: int) -> DataAttribute | None:
        """Return the attribute of VRM's idDataAttribute; None before `refresh`."""
        return next((row for row in self.rows if row.id == attribute_id), None)

    @property
    def device_types(self) -> tuple[str, ...]:
        """Every type of device, in VRM's order."""
        return tuple(dict.fromkeys(row.device_type for row in self.rows if row.device_type is not None))

    def _replace(self, rows: tuple[DataAttribute, ...]) -> None:
        self._rows = rows
        self._codes = {}

    @printable
    def __repr__(self) -> str:
        unread = self._rows is None and not shipped.cache_info().currsize
        return f"<{type(self).__name__}: {'not read yet' if unread else f'{len(self)} rows'}>"


class Codes(Mapping[str, Code]):
    """The meaning of each code by the code, case-sensitive: ``vrm.codes["Pc"].name`` is ``PV to home``.

    Codes of statistics and of the system have a readable name, which is also that of their column in a table.
    The name of any other code is VRM's description in the catalogue; where device types share a code, their
    descriptions are joined.

    Args:
        catalogue: Where the other codes are looked up.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __getitem__(self, code: str) -> Code:
        unit, sum_of = codes.BY_CODE.get(code), codes.SUMS.get(code, ())
        if code in codes.NAMES:
            return Code(code, codes.NAMES[code], unit, sum_of)
        rows = self._catalogue.by_code(code)
        if not rows:
            alike = [each for each in self if each.casefold() == str(code).casefold()]
            hint = f"codes are case-sensitive: {', '.join(alike)}" if alike else "see catalogue.search"
            raise KeyError(f"no code {code!r}; {hint}")
        described = {row.description.casefold(): row.description for row in rows if row.description}
        units = {row.unit for row in rows}
        only = units.pop() if len(units) == 1 else None
        return Code(code, " / ".join(described.values()) or code, unit or only, sum_of)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*codes.NAMES, *(row.code for row in self._catalogue))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @printable
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._catalogue!r}>"


class CatalogueResource(Catalogue):
    """The catalogue of a client, `client.catalogue`: the package's tables until `refresh` was called."""

    def __init__(self, api: ApiClient) -> None:
        super().__init__()
        self._api = api

    async def refresh(self) -> Catalogue:
        """Load the service's own list, search it from now on, and return it. Cancelling is safe.

        Its attributes have ids and formats (with units). The service sends no device type: it is taken from
        the package's tables where code and description identify one row. After an error the catalogue is
        unchanged.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/data-attributes
        """
        rows = await self._api.call(DATA_ATTRIBUTES, read_catalogue)
        self._replace(rows)
        return Catalogue(rows)


def read_catalogue(payload: JSON) -> tuple[DataAttribute, ...]:
    """Read ``data-attributes``: a mapping of id to record, without an envelope.

    Raises:
        DecodeError: the answer has no data attributes. VRM has hundreds.
    """
    found = by_key(payload)
    # VRM sends this list without an envelope, other than every other answer; accept one all the same.
    for envelope in ("records", "data"):
        if isinstance(found.get(envelope), dict | list):
            found = by_key(found[envelope])
    rows = tuple(_with_device_type(row) for row in read_definitions(found))
    if not rows:
        raise DecodeError("the answer has no data attributes", kind="shape")
    return rows


def read_definitions(value: object) -> tuple[DataAttribute, ...]:
    """Read definitions, whose id is in the record or only in its key; malformed ones are counted."""
    listed = {"": value} if isinstance(value, Mapping) and "code" in value else by_key(value)
    found = (_definition(key, record) for key, record in listed.items() if key != "success")
    return tuple(row for row in found if row is not None)


def _definition(key: str, record: object) -> DataAttribute | None:
    members = by_key(record) if isinstance(record, Mapping) else {}
    code = text(members.get("code"))
    number = integer(members.get("idDataAttribute", key))
    if not code or number is None:
        report("DataAttribute", "record", "malformed")
        return None
    return DataAttribute(
        code=code,
        description=text(members.get("description")) or "",
        id=number,
        data_type=text(members.get("dataType")),
        format=text(members.get("formatWithUnit")),
        raw=members,
    )


def _with_device_type(row: DataAttribute) -> DataAttribute:
    """Take the device type of the one row of the package's tables that this row can be."""
    alike = shipped_by_code().get(row.code, ())
    same = [known for known in alike if known.description.casefold() == row.description.casefold().strip()]
    likely = same or alike
    # Several device types may share code and description: then the type stays unknown.
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
