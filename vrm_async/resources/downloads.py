"""Files of a site: what VRM exports becomes a file on disk, piece by piece, whole or not at all."""

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
from vrm_async import validation
from vrm_async.decoding.php import by_key
from vrm_async.download_file import AsItIs, BodyDecoder, BodyFilter, Pouring, SavedFile, Watch, Xml
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
    repeatable=False,  # asked twice, it sends two mails
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
DATATYPES: Final = ("log", "kwh", "benchmark")
DEPRECATED: Final = (
    "VRM has deprecated data-download; stats.history and widgets.graph_history bring the same data"
)


class Downloads:
    """Exports as files. Each is written beside its path, made durable, and then renamed; mode 0600."""

    def __init__(self, api: ApiClient, site_ids: SiteIds) -> None:
        self._api = api
        self._site_ids = site_ids

    async def data(
        self,
        site_id: int,
        path: str | os.PathLike[str],
        *,
        start: datetime,
        end: datetime,
        format: str | Unlisted = "csv",  # noqa: A002  (VRM's own word)
        datatype: str | Unlisted = "log",
        debug: bool = False,
        harmless: bool = False,
        progress: Watch | None = None,
    ) -> SavedFile:
        """Save the logs or energies of a site. VRM has deprecated this.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/data-download

        Args:
            site_id: The site.
            path: Where to; a file that is there is replaced once the new one is whole.
            start: An aware datetime.
            end: An aware datetime after `start`.
            format: One of `FORMATS`.
            datatype: One of `DATATYPES`: all logged values, or energies.
            debug: Include attributes that only administrators may see.
            harmless: Put an apostrophe before text cells that a spreadsheet would run as formulas; csv only.
            progress: Called after each piece.

        Raises:
            DecodeError: the answer is no such file.
            NoData: VRM has nothing for the range.
            OSError: the file cannot be written.
        """
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=2)
        if harmless and format != "csv":
            raise ValueError(f"harmless goes with format 'csv'; the format is {format!r}")
        query = _asked(start, end, format, datatype, debug=debug)
        request = DATA.request(query=query, idSite=validation.whole("site_id", site_id))
        passing = FormulaEscaper() if harmless else AsItIs()
        return await self._save(request, AtomicFile(path), passing, progress, html=format == "html")

    async def data_by_mail(
        self,
        site_id: int,
        *,
        start: datetime,
        end: datetime,
        format: str | Unlisted = "csv",  # noqa: A002  (VRM's own word)
        datatype: str | Unlisted = "log",
        debug: bool = False,
    ) -> Mapping[str, object]:
        """Let VRM send the same to the account's e-mail address; returns what it answers. Deprecated, too.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/data-download
        """
        warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=2)
        query = [*_asked(start, end, format, datatype, debug=debug), ("async", "1")]
        return await self._api.call(MAIL, _mailed, query=query, idSite=validation.whole("site_id", site_id))

    async def gps(
        self,
        site_id: int,
        path: str | os.PathLike[str],
        *,
        start: datetime,
        end: datetime,
        progress: Watch | None = None,
    ) -> SavedFile:
        """Save where a site has been, as KML.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/gps-download

        Args:
            site_id: The site.
            path: Where to.
            start: An aware datetime.
            end: An aware datetime after `start`.
            progress: Called after each piece.
        """
        request = GPS.request(query=validation.span(start, end), idSite=validation.whole("site_id", site_id))
        return await self._save(request, AtomicFile(path), Xml(), progress)

    async def overview(
        self,
        path: str | os.PathLike[str],
        site_ids: Iterable[int] | None = None,
        *,
        columns: Mapping[str, JSON] | None = None,
        only_visible: bool = False,
        progress: Watch | None = None,
    ) -> SavedFile:
        """Save a table of sites as XLSX; `fleet.overview` returns the same as values.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installation-overview-download

        Args:
            path: Where to.
            site_ids: Which sites; None takes every site of the account.
            columns: Which columns, as `fleet.overview` takes them.
            only_visible: Whether what is hidden in VRM's list of sites stays out.
            progress: Called after each piece.
        """
        listed = None if site_ids is None else validation.several("site_ids", site_ids)
        body = overview_body(columns, only_visible=only_visible, as_json=False)
        body["siteIds"] = [*(await self._site_ids() if listed is None else listed)]
        return await self._save(OVERVIEW.request(json=body), AtomicFile(path), AsItIs(), progress)

    async def _save(
        self,
        request: Request,
        file: AtomicFile,
        passing: BodyFilter,
        progress: Watch | None,
        *,
        html: bool = False,
    ) -> SavedFile:
        pouring = Pouring(
            download=await self._api.start_download(request),
            file=file,
            passing=passing,
            body=BodyDecoder(html=html),
            progress=progress,
            operation=request.operation,
            refuse=self._api.refuse,
        )
        return await pouring.run()


def _mailed(payload: JSON) -> Mapping[str, object]:
    done(payload)
    return by_key(payload)


def _asked(
    start: datetime,
    end: datetime,
    format: str | Unlisted,  # noqa: A002  (VRM's own word)
    datatype: str | Unlisted,
    *,
    debug: bool,
) -> list[tuple[str, str]]:
    query = validation.span(start, end)
    query.append(("format", validation.one_of("format", format, FORMATS)))
    query.append(("datatype", validation.one_of("datatype", datatype, DATATYPES)))
    return [*query, ("debug", "true")] if debug else query
