"""The manifest: an archive's files with checksums, the parameters of the requests, and missing data.

It contains no time of the run, so that the same data gives the same bytes whenever it is fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import define, field
from cattrs import BaseValidationError
from cattrs.preconf.json import make_converter

Format: TypeAlias = Literal["csv", "parquet"]

NAME: Final = "manifest.json"
VERSION: Final = 1

_converter: Final = make_converter(forbid_extra_keys=True)


class ManifestError(Exception):
    """The manifest is damaged or unreadable; the message is the reason."""


@define(kw_only=True)
class FileEntry:
    """A file of the archive."""

    sha256: str
    """In hex."""
    bytes: int
    """Size of the file."""
    rows: int
    first: str | None = None
    """Time of the first row."""
    last: str | None = None
    """Time of the last row."""


@define(kw_only=True)
class SectionEntry:
    """A month of history, or a table of statistics."""

    file: str | None = None
    """Name of its file; None if the service has no rows."""
    final: bool = False
    """Whether it is complete and ends before the last day that was read; it is not read again."""
    malformed: int = 0
    """Rows of the history that are malformed at the source, or records of a table that have no time."""


@define(kw_only=True)
class ProductEntry:
    """State of one product's archive."""

    months: dict[str, SectionEntry] = field(factory=dict)
    """By month, such as `2024-10`."""
    tables: dict[str, SectionEntry] = field(factory=dict)
    """By name, such as `statistics-day`."""
    last_day: date | None = None
    """The last day that was read; the next run reads it again. None until a first run has finished."""
    missing: list[str] = field(factory=list)
    """One line for each part that could not be read, with the reason."""


@define(kw_only=True)
class YearEntry:
    """One year of a site's hours."""

    file: str | None = None
    """Name of its file; None if VRM has no rows."""
    until: datetime
    """End of what was read."""
    settled_until: datetime
    """Hours from here on may still change; the next run reads them again."""
    codes: list[str] = field(factory=list)
    """The codes that were requested; none for the energies."""


@define(kw_only=True)
class SiteEntry:
    """State of one VRM site's archive."""

    years: dict[str, YearEntry] = field(factory=dict)
    """By name, such as `statistics-hour-2025`."""
    until: datetime | None = None
    """End of the last finished run; None until a first run has finished."""
    missing: list[str] = field(factory=list)
    """One line for each part that could not be read, with the reason."""


@define(kw_only=True)
class Manifest:
    """Content of `manifest.json`."""

    format: Format
    services: dict[str, str] = field(factory=dict)
    """Base URL that the data was fetched from, by vendor."""
    parameters: dict[str, str | int | float] = field(factory=dict)
    """Parameters of the requests that differ from the service's defaults, and the format of cells."""
    products: dict[int, ProductEntry] = field(factory=dict)
    """VoltStorage's, by number."""
    sites: dict[int, SiteEntry] = field(factory=dict)
    """VRM's, by number."""
    files: dict[str, FileEntry] = field(factory=dict)
    """By name, relative to the archive's directory."""

    @property
    def missing(self) -> Iterator[str]:
        """One line for each missing part, product by product and site by site."""
        if not self.products and not self.sites:
            yield "nothing is archived yet"
        for number, product in sorted(self.products.items()):
            if product.last_day is None:
                yield f"product {number}: no run has finished"
            for part in product.missing:
                yield f"product {number}: {part}"
        for number, site in sorted(self.sites.items()):
            if site.until is None and not site.missing:
                yield f"site {number}: no run has finished"
            for part in site.missing:
                yield f"site {number}: {part}"

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON with sorted keys and a checksum of itself."""
        # Dumped and parsed once more: numeric keys become text there, and are then sorted as text.
        body = json.loads(_converter.dumps(self)) | {"version": VERSION}
        return _dump(body | {"checksum": _checksum(body)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Parse a manifest.

        Raises:
            ManifestError: It is not a manifest, has another version, or does not match its checksum.
        """
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            raise ManifestError(f"{NAME} is not readable") from None
        if not isinstance(body, dict):
            raise ManifestError(f"{NAME} is not a manifest")
        if body.get("version") != VERSION:
            raise ManifestError(f"{NAME} has an unknown version: {body.get('version')!r}")
        if body.pop("checksum", None) != _checksum(body):
            raise ManifestError(f"{NAME} was changed or damaged: its checksum does not match")
        del body["version"]
        try:
            return _converter.structure(body, cls)
        except (BaseValidationError, ValueError, TypeError, LookupError):
            raise ManifestError(f"{NAME} is not a manifest") from None

    @classmethod
    def load(cls, root: Path) -> Manifest | None:
        """Read the manifest of an archive's directory; None if there is none.

        Raises:
            ManifestError: It cannot be read, or see `from_bytes`.
        """
        try:
            return cls.from_bytes((root / NAME).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ManifestError(f"{NAME} cannot be read: {error.strerror or error}") from None


def _dump(body: Mapping[str, object]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode()


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()
