"""Saves VRM's exports as files. A file is written completely or not at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from energy_core.atomic_file import AtomicFile
from energy_core.codec.json import JSON
from energy_core.csv_safety import FormulaEscaper
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Request
from energy_core.local_days import TimeRange, time_range
from vrm_async import validation
from vrm_async.decoding.php import by_key
from vrm_async.download_file import (
    BodyDecoder,
    BodyFilter,
    FileTransfer,
    NoFilter,
    ProgressCallback,
    SavedFile,
    XmlFilter,
)
from vrm_async.models.site import Site
from vrm_async.resources.fleet import SiteIds, overview_body
from vrm_async.responses import done
from vrm_async.validation import Unlisted

_TOTAL_S: Final = 900.0

DATA: Final = Operation(
    vendor="vrm",
    name="downloads.data",
    method="GET",
    path="installations/{idSite}/data-download",
    repeatable=True,
    total_s=_TOTAL_S,
)
MAIL: Final = Operation(
    vendor="vrm",
    name="downloads.data_by_mail",
    method="GET",
    path="installations/{idSite}/data-download",
    repeatable=False,  # sent twice, it causes two mails
)
GPS: Final = Operation(
    vendor="vrm",
    name="downloads.gps",
    method="GET",
    path="installations/{idSite}/gps-download",
    repeatable=True,
    total_s=_TOTAL_S,
)
OVERVIEW: Final = Operation(
    vendor="vrm",
    name="downloads.overview",
    method="POST",
    path="installation-overview-download",
    repeatable=True,  # it only reads
    total_s=_TOTAL_S,
)

FORMATS: Final = ("csv", "xls", "xlsx", "excelxml", "html")
"""The formats that VRM documents."""
DATATYPES: Final = ("log", "kwh", "benchmark")
"""The contents that VRM documents."""
DEPRECATED: Final = (
    "VRM has deprecated data-download; stats.history and widgets.graph_history bring the same data"
)


class Downloads:
    """Exports of a site as files; `client.downloads`.

    A file is written to a temporary name beside its path, fsynced and renamed; its mode is 0600. Cancelling
    is safe: the temporary file is removed, and an older file at the path stays.
    """

    def __init__(self, api: ApiClient, site_ids: SiteIds, resolve_range: validation.ResolveRange) -> None:
        self._api = api
        self._site_ids = site_ids
        self._resolve_range = resolve_range

    async def data(
        self,
        site: Site | int,
        path: str | os.PathLike[str],
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        format: str | Unlisted = "csv",  # noqa: A002  (VRM's own word)
        datatype: str | Unlisted = "log",
        debug: bool = False,
        escape_formulas: bool = False,
        progress: ProgressCallback | None = None,
    ) -> SavedFile:
        """Save the logs or energies of a site as a file. VRM has deprecated this operation.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/data-download

        Args:
            site: The site or its id.
            path: The file's path. An older file is replaced once the new one is complete.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``.
            end: An aware datetime after `start`.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(30, "days")``, instead of `start` and `end`.
            format: One of `FORMATS`.
            datatype: One of `DATATYPES`: log for all logged values, kwh for energies.
            debug: Include attributes that only administrators may see.
            escape_formulas: Put an apostrophe before text cells that a spreadsheet would run as formulas;
                csv only.
            progress: Called after each part that was written.

        Raises:
            DecodeError: the answer is not a file of this format.
            NoData: VRM has no data in the range.
            OSError: the file cannot be written.
        """
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=2)
        if escape_formulas and format != "csv":
            raise ValueError(f"escape_formulas goes with format 'csv'; the format is {format!r}")
        given_range, site_id = time_range(start, end, period=period, last=last), validation.site_id(site)
        options = _options(format, datatype, debug=debug)
        query = await self._range_query(site, given_range) + options
        request = DATA.request(query=query, idSite=site_id)
        body_filter = FormulaEscaper() if escape_formulas else NoFilter()
        return await self._save(request, AtomicFile(path), body_filter, progress, html=format == "html")

    async def data_by_mail(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        format: str | Unlisted = "csv",  # noqa: A002  (VRM's own word)
        datatype: str | Unlisted = "log",
        debug: bool = False,
    ) -> Mapping[str, object]:
        """Let VRM send the file of `data` to the account's e-mail address; return VRM's answer. Sent once.

        The arguments are those of `data`. VRM has deprecated this operation, too.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/data-download
        """
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=2)
        given_range, site_id = time_range(start, end, period=period, last=last), validation.site_id(site)
        options = [*_options(format, datatype, debug=debug), ("async", "1")]
        query = await self._range_query(site, given_range) + options
        return await self._api.call(MAIL, _mailed, query=query, idSite=site_id)

    async def gps(
        self,
        site: Site | int,
        path: str | os.PathLike[str],
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> SavedFile:
        """Save the positions of a site over time as KML.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/gps-download

        Args:
            site: The site or its id.
            path: The file's path.
            start: An aware datetime; or a local year, month or day of the site as text.
            end: An aware datetime after `start`.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(30, "days")``, instead of `start` and `end`.
            progress: Called after each part that was written.
        """
        given_range, site_id = time_range(start, end, period=period, last=last), validation.site_id(site)
        request = GPS.request(query=await self._range_query(site, given_range), idSite=site_id)
        return await self._save(request, AtomicFile(path), XmlFilter(), progress)

    async def overview(
        self,
        path: str | os.PathLike[str],
        sites: Iterable[Site | int] | None = None,
        *,
        columns: Mapping[str, JSON] | None = None,
        only_visible: bool = False,
        progress: ProgressCallback | None = None,
    ) -> SavedFile:
        """Save a table of sites as XLSX; `fleet.overview` returns the same table as values.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-overview-download

        Args:
            path: The file's path.
            sites: The sites or their ids; None takes every site of the account.
            columns: The columns, in the form that `fleet.overview` takes.
            only_visible: Whether sites that are hidden in VRM's list stay out.
            progress: Called after each part that was written.
        """
        listed = None if sites is None else validation.site_ids(sites)
        body = overview_body(columns, only_visible=only_visible, as_json=False)
        body["siteIds"] = [*(await self._site_ids() if listed is None else listed)]
        return await self._save(OVERVIEW.request(json=body), AtomicFile(path), NoFilter(), progress)

    async def _range_query(self, site: Site | int, given_range: TimeRange) -> list[tuple[str, str]]:
        return validation.range_query(*await self._resolve_range(site, given_range))

    async def _save(
        self,
        request: Request,
        file: AtomicFile,
        body_filter: BodyFilter,
        progress: ProgressCallback | None,
        *,
        html: bool = False,
    ) -> SavedFile:
        transfer = FileTransfer(
            download=await self._api.start_download(request),
            file=file,
            filter=body_filter,
            decoder=BodyDecoder(html=html),
            progress=progress,
            operation=request.operation,
            refuse=self._api.refuse,
        )
        return await transfer.run()


def _mailed(payload: JSON) -> Mapping[str, object]:
    done(payload)
    return by_key(payload)


def _options(
    format: str | Unlisted,  # noqa: A002  (VRM's own word)
    datatype: str | Unlisted,
    *,
    debug: bool,
) -> list[tuple[str, str]]:
    query = [
        ("format", validation.one_of("format", format, FORMATS)),
        ("datatype", validation.one_of("datatype", datatype, DATATYPES)),
    ]
    return [*query, ("debug", "true")] if debug else query
