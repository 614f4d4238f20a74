"""The manifest: which files there are, with checksums, what was asked for, and what is missing and why.

It holds no moment of its own making: the same data gives the same manifest, whenever it was fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import define, field
from cattrs import BaseValidationError
from cattrs.preconf.json import make_converter

Format: TypeAlias = Literal["csv", "parquet"]

NAME: Final = "manifest.json"
VERSION: Final = 1

_converter: Final = make_converter(forbid_extra_keys=True)


class Damaged(Exception):
    """The manifest cannot be trusted; the message says why."""


@define(kw_only=True)
class FileEntry:
    """A file of the archive."""

    sha256: str
    bytes: int
    rows: int
    first: str | None = None
    """Time of the first row."""
    last: str | None = None


@define(kw_only=True)
class PieceEntry:
    """A month of history, or a table of statistics."""

    file: str | None = None
    """None: the service has nothing for it."""
    final: bool = False
    """Whether it lies behind the last day that was read, and nothing of it is missing."""
    malformed: int = 0
    """Rows the service sent that cannot be read, or not wholly; of a table: records without a time."""


@define(kw_only=True)
class ProductEntry:
    """How far a product is archived."""

    months: dict[str, PieceEntry] = field(factory=dict)
    tables: dict[str, PieceEntry] = field(factory=dict)
    last_day: date | None = None
    """The last day that was read, which the next run reads again; None before a first run has come to its
    end."""
    missing: list[str] = field(factory=list)
    """What could not be read, and why."""


@define(kw_only=True)
class Manifest:
    """What an archive's folder holds."""

    format: Format
    service: str
    """Where it was fetched from."""
    parameters: dict[str, str | int | float]
    """What was asked for beyond the defaults, and how cells are written."""
    products: dict[int, ProductEntry] = field(factory=dict)
    files: dict[str, FileEntry] = field(factory=dict)

    @property
    def missing(self) -> Iterator[str]:
        """What is not there, product by product."""
        if not self.products:
            yield "nothing is archived yet"
        for number, product in sorted(self.products.items()):
            if product.last_day is None:
                yield f"product {number}: no run has come to its end"
            for what in product.missing:
                yield f"product {number}: {what}"

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON, always spelled alike, with a checksum of itself."""
        # Through JSON and back, where numbers that name members become text and are sorted as such.
        body = json.loads(_converter.dumps(self)) | {"version": VERSION}
        return _spelled(body | {"checksum": _checksum(body)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            Damaged: It is not one, or not as it was written.
        """
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            raise Damaged(f"{NAME} is not readable") from None
        if not isinstance(body, dict):
            raise Damaged(f"{NAME} is not a manifest")
        if body.get("version") != VERSION:
            raise Damaged(f"{NAME} has a version this program does not know: {body.get('version')!r}")
        if body.pop("checksum", None) != _checksum(body):
            raise Damaged(f"{NAME} was changed or damaged: its own checksum does not fit")
        del body["version"]
        try:
            return _converter.structure(body, cls)
        except (BaseValidationError, ValueError, TypeError, LookupError):
            raise Damaged(f"{NAME} is not a manifest") from None

    @classmethod
    def at(cls, root: Path) -> Manifest | None:
        """Read a folder's manifest; None where there is none.

        Raises:
            Damaged: As `from_bytes`.
        """
        try:
            return cls.from_bytes((root / NAME).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as refused:
            raise Damaged(f"{NAME} cannot be read: {refused.strerror or refused}") from None


def _spelled(body: Mapping[str, object]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_spelled(body)).hexdigest()
