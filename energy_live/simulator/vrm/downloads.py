"""VRM: downloads of logs (base64), GPS tracks (KML) and the overview of sites (XLSX).

The encodings are those of the OpenAPI document; the columns of the files are guesses.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from aiohttp import web

from energy_live.simulator.clock import Timeline
from energy_live.simulator.server import Handler
from energy_live.simulator.vrm.installations import SITE, Installations
from energy_live.simulator.vrm.request_checks import VrmRefusal, answer, boolean, required_integer, time_range
from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site
from energy_live.simulator.vrm.stats import ENERGIES, KWH

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_LOGGED: Final = ("bs", "bv", "bc", "consumption", "solar_yield", "from_to_grid")
_MIN_STEP_S: Final = 900.0
_MAX_ROWS: Final = 20_000
_FORMATS: Final = {
    "csv": "text/csv",
    "xls": "application/vnd.ms-excel",
    "xlsx": XLSX,
    "excelxml": "application/vnd.ms-excel",
    "html": "text/html",
}

Cell = str | float | None


class Downloads:
    """Handlers of one site's downloads."""

    def __init__(self, timeline: Timeline, installations: Installations) -> None:
        self._timeline = timeline
        self._installations = installations

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each endpoint."""
        return [
            ("GET", f"{SITE}/data-download", self._data),
            ("GET", f"{SITE}/gps-download", self._gps),
        ]

    async def _data(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        start, end = time_range(request, self._timeline.now())
        form, kind = request.query.get("format", "csv"), request.query.get("datatype", "log")
        if form not in _FORMATS or kind not in {"log", "kwh", "benchmark"}:
            raise VrmRefusal(400, "invalid_parameters", {"format": "The format is not valid."})
        if boolean(request, "async"):
            return answer({"success": True})  # VRM sends the file by e-mail
        begin, until = max(start, site.created), min(end, self._timeline.now())
        if until <= begin:
            raise VrmRefusal(200, "no_data", ["Site has no data for this period."])
        rows = list(_table(site, begin, until, kind))
        content = _csv(rows) if form == "csv" else _page(rows) if form == "html" else workbook(rows)
        # The body is base64, but Content-Type is that of the decoded file.
        return web.Response(
            body=base64.b64encode(content),
            content_type=_FORMATS[form],
        )

    async def _gps(self, request: web.Request) -> web.Response:
        site = self._installations.site(request)
        start, end = float(required_integer(request, "start")), float(required_integer(request, "end"))
        if end <= max(start, site.created):
            raise VrmRefusal(200, "no_data", ["Site has no GPS data for this period."])
        config = site.household.config
        position = f"{config.longitude:.5f},{config.latitude:.5f},0"
        track = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
            f"<name>{escape(site.name)}</name><Placemark><LineString><coordinates>{position} {position}"
            "</coordinates></LineString></Placemark></Document></kml>\n"
        )
        return web.Response(
            body=track.encode(),
            content_type="application/vnd.google-earth.kml+xml",
            headers={"Content-Disposition": f'attachment; filename="../{site.id}.kml"'},
        )


def _table(site: Site, begin: float, end: float, kind: str) -> Iterator[list[Cell]]:
    codes = KWH if kind == "kwh" else _LOGGED
    yield [f"timestamp ({site.household.config.timezone})", "site", *codes]
    step = max(_MIN_STEP_S, (end - begin) / _MAX_ROWS)
    while begin < end:
        after = min(begin + step, end)
        values = _energies(site, begin, after) if kind == "kwh" else _measured(site, begin)
        yield [str(int(begin)), site.name, *values]
        begin = after


def _energies(site: Site, begin: float, end: float) -> list[Cell]:
    flow = site.household.energy(begin, end)
    return [round(ENERGIES[code](flow), 6) if code in ENERGIES else None for code in KWH]


def _measured(site: Site, moment: float) -> list[Cell]:
    at = site.household.at(site.logged_at(moment))
    return [site.number(code, at) for code in _LOGGED]


def _csv(rows: Sequence[Sequence[Cell]]) -> bytes:
    return "".join(",".join(_csv_cell(cell) for cell in row) + "\n" for row in rows).encode()


def _csv_cell(cell: Cell) -> str:
    text = "" if cell is None else str(cell)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if isinstance(cell, str) and not text.isdigit() else text


def _page(rows: Sequence[Sequence[Cell]]) -> bytes:
    lines = ("".join(f"<td>{'' if cell is None else escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<!DOCTYPE html><html><body><table>{body}</table></body></html>".encode()


def overview(rows: Sequence[Json]) -> web.Response:
    """Return the overview of sites as an XLSX response."""
    names = list(rows[0]) if rows else []
    cells: list[list[Cell]] = [[*names]]
    cells += [[_cell(row.get(name)) for name in names] for row in rows]
    return web.Response(body=workbook(cells), content_type=XLSX)


def _cell(value: object) -> Cell:
    return value if isinstance(value, str | float | int) or value is None else str(value)


_PARTS: Final = {
    "[Content_Types].xml": (
        '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument'
        '.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="'
        'application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships'
        '/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
        '<sheet name="VRM" sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships'
        '/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


def workbook(rows: Sequence[Sequence[Cell]]) -> bytes:
    """Return an XLSX file with one sheet."""
    sheet = "".join(f"<row>{''.join(map(_xml_cell, row))}</row>" for row in rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, content in _PARTS.items():
            parts.writestr(name, content)
        parts.writestr(
            "xl/worksheets/sheet1.xml",
            '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            f"<sheetData>{sheet}</sheetData></worksheet>",
        )
    return packed.getvalue()


def _xml_cell(cell: Cell) -> str:
    if cell is None:
        return "<c/>"
    if isinstance(cell, str):
        return f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
    return f"<c><v>{cell}</v></c>"
