"""Downloads: decoding of bodies, and files that are written completely or not at all."""

import asyncio
import base64
import csv
import json
import stat
import tracemalloc
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import (
    AnswerError,
    BadRequest,
    DecodeError,
    EnergyError,
    NoData,
    PermissionDenied,
    TransportError,
)
from energy_live.simulator import Simulator
from vrm_async import DownloadProgress, VRMClient
from vrm_async.download_file import BodyDecoder

TOKEN = "0123456789abcdef" * 4
RANGE = {"start": datetime(2026, 3, 1, tzinfo=UTC), "end": datetime(2026, 3, 2, tzinfo=UTC)}
CSV = (
    b'"timestamp","Battery SOC (%)","name"\n'
    b'1772323200,99.5,"Elm Street"\n'
    b"1772323260,-5.2,\"=cmd|'/c calc'!A0\"\n"
)
XLSX = b"PK\x03\x04\x14\x00" + bytes(range(256)) * 40
KML = b'<?xml version="1.0" encoding="UTF-8"?><kml><Document/></kml>'

pytestmark = pytest.mark.filterwarnings("ignore:VRM has deprecated data-download:DeprecationWarning")


def wrapped(content):
    return base64.b64encode(content)


def lines(content):
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def quoted(content):
    return b'"' + base64.b64encode(content).replace(b"/", rb"\/") + b'"'


class Server:
    """Sends one prepared answer in chunks, and records the request."""

    def __init__(self):
        self.body, self.status, self.headers, self.piece = b"", 200, {}, 1000
        self.break_after = None
        self.pause = None
        self.over = asyncio.Event()
        self.asked = []
        self.url = ""

    async def handle(self, request):
        self.asked.append((request.method, request.path, dict(request.query), await request.read()))
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        for position in range(0, len(self.body), self.piece):
            if self.break_after is not None and position >= self.break_after:
                request.transport.abort()
                return response
            if self.pause is not None and position:
                self.pause.set()
                await self.over.wait()
            await response.write(self.body[position : position + self.piece])
        await response.write_eof()
        return response


@pytest.fixture
async def server():
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/"
    yield made
    made.over.set()
    await runner.cleanup()


@pytest.fixture
async def vrm(server):
    async with VRMClient(token=TOKEN, base_url=server.url) as client:
        yield client


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("content", [CSV, XLSX, b"x" * 4097], ids=["csv", "xlsx", "long"])
@pytest.mark.parametrize("wrapping", [wrapped, lines, quoted], ids=["plain", "lines", "JSON text"])
async def test_base64_is_decoded(server, vrm, tmp_path, content, wrapping):
    """It may be plain text, text in lines, or a JSON string with escaped slashes."""
    server.body, server.piece = wrapping(content), 997
    saved = await vrm.downloads.data(1, tmp_path / "log.csv", **RANGE)
    assert saved.path.read_bytes() == content
    assert (saved.size, saved.encoding) == (len(content), "base64")
    assert names(tmp_path) == ["log.csv"]


@pytest.mark.parametrize(
    "content", [CSV, XLSX, b"\xef\xbb\xbf" + CSV, b"a,b\n"], ids=["csv", "xlsx", "bom", "tiny"]
)
async def test_a_file_that_is_not_encoded_is_written_unchanged(server, vrm, tmp_path, content):
    """VRM may stop encoding files."""
    server.body = content
    saved = await vrm.downloads.data(1, tmp_path / "log.csv", **RANGE)
    assert saved.path.read_bytes() == content
    assert saved.encoding == "raw"


async def test_path_and_query_of_a_download(server, vrm, tmp_path):
    """They are those of VRM's document."""
    server.body = wrapped(CSV)
    await vrm.downloads.data(1039, tmp_path / "a", format="xls", datatype="kwh", debug=True, **RANGE)
    query = {"start": "1772323200", "end": "1772409600", "format": "xls", "datatype": "kwh", "debug": "true"}
    assert server.asked[0][:3] == ("GET", "/v2/installations/1039/data-download", query)


async def test_the_file_is_private_and_has_the_callers_name(server, vrm, tmp_path):
    """Its mode is 0600; the server's file name is not used."""
    server.body = wrapped(CSV)
    server.headers = {"Content-Disposition": 'attachment; filename="../../evil.csv"'}
    saved = await vrm.downloads.data(1, tmp_path / "mine.csv", **RANGE)
    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["mine.csv"]
    assert not (tmp_path.parent / "evil.csv").exists()


REFUSALS = [
    (200, b'{"success":false,"error_code":"no_data","errors":["nada"]}', NoData),
    (200, b' \n{"success": false, "errors": "x"}', EnergyError),
    (403, b'{"success":false,"errors":"x"}', PermissionDenied),
    (422, b'{"success":false,"errors":"x"}', BadRequest),
    (200, b'{"success": true, "message": "mailed"}', DecodeError),
    (200, b"[]", DecodeError),
    (200, b"<!DOCTYPE html><p>Bad gateway", DecodeError),
    (200, b"", DecodeError),
    (200, b"   ", DecodeError),
    (200, b"null", DecodeError),
    (200, b"true", DecodeError),
    (200, b"NotFound", DecodeError),
    (200, b"Not available right now\n", DecodeError),
    (200, b'"Service busy"', DecodeError),
    (200, wrapped(b"No data for this period"), DecodeError),
    (200, b"<head><title>Busy</title></head>", DecodeError),
    (200, b'{"message": "Forbidden"}', AnswerError),
    (206, wrapped(CSV), AnswerError),
    (200, wrapped(CSV)[:-3], DecodeError),
    (200, wrapped(CSV * 20)[:900] + b"!" + wrapped(CSV * 20)[901:], DecodeError),
    (200, wrapped(CSV[:50]) + wrapped(CSV), DecodeError),
    (200, b'{"a": "' + b"x" * 100_000 + b'"}', DecodeError),
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_an_answer_that_is_not_a_file_leaves_the_old_file(server, vrm, tmp_path, refusal):
    """Refusals in JSON, HTML pages, invalid and truncated base64 raise typed errors."""
    status, body, error = refusal
    (tmp_path / "log.csv").write_text("before")
    server.status, server.body = status, body
    with pytest.raises(error) as caught:
        await vrm.downloads.data(1, tmp_path / "log.csv", **RANGE)
    assert (caught.value.operation, caught.value.status) == ("downloads.data", status)
    assert names(tmp_path) == ["log.csv"]
    assert (tmp_path / "log.csv").read_text() == "before"


async def test_a_broken_connection_leaves_the_old_file(server, vrm, tmp_path):
    """An incomplete file is never written to the path."""
    server.headers = {"Content-Length": "40000"}
    server.body, server.break_after = wrapped(bytes(30_000)), 20_000
    with pytest.raises(TransportError):
        await vrm.downloads.data(1, tmp_path / "log.csv", **RANGE)
    assert names(tmp_path) == []


async def test_cancelling_leaves_the_old_file(server, vrm, tmp_path):
    """There is no temporary file afterwards, and the connection is released."""
    server.body, server.pause = wrapped(XLSX), asyncio.Event()
    task = asyncio.ensure_future(vrm.downloads.data(1, tmp_path / "log.csv", **RANGE))
    await server.pause.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path) == []


async def test_a_progress_callback_that_raises_stops_the_download(server, vrm, tmp_path):
    """Its error is raised, and no file is left."""
    server.body = wrapped(XLSX)

    def stop(_progress):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await vrm.downloads.data(1, tmp_path / "log.csv", progress=stop, **RANGE)
    assert names(tmp_path) == []


async def test_progress_is_reported(server, vrm, tmp_path):
    """It has the bytes received and written, and the announced number."""
    server.body = wrapped(XLSX)
    server.headers = {"Content-Length": str(len(server.body))}
    seen: list[DownloadProgress] = []
    saved = await vrm.downloads.data(1, tmp_path / "a.xls", format="xls", progress=seen.append, **RANGE)
    assert [each.received for each in seen] == sorted(each.received for each in seen)
    assert seen[-1] == DownloadProgress(
        received=len(server.body), written=saved.size, expected=len(server.body)
    )


async def test_a_large_file_takes_little_memory(server, vrm, tmp_path):
    """32 MiB are written in chunks with much less memory."""
    size = 32 * 1024 * 1024
    server.body, server.piece = wrapped(bytes(size)), 256 * 1024
    await vrm.downloads.data(1, tmp_path / "warm", **RANGE)
    tracemalloc.start()
    try:
        saved = await vrm.downloads.data(1, tmp_path / "big", **RANGE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert saved.size == size
    assert peak < 6 * 1024 * 1024


async def test_wrong_arguments_send_nothing(server, vrm, tmp_path):
    """They are checked before anything is sent."""
    down = vrm.downloads
    with pytest.raises(ValueError, match="format must be one of csv, xls"):
        await down.data(1, tmp_path / "a", format="pdf", **RANGE)
    with pytest.raises(ValueError, match="datatype must be one of log"):
        await down.data(1, tmp_path / "a", datatype="all", **RANGE)
    with pytest.raises(ValueError, match="escape_formulas"):
        await down.data(1, tmp_path / "a", format="xls", escape_formulas=True, **RANGE)
    with pytest.raises(IsADirectoryError):
        await down.data(1, tmp_path, **RANGE)
    with pytest.raises(NotADirectoryError):
        await down.data(1, tmp_path / "nowhere" / "a", **RANGE)
    with pytest.raises(TypeError, match="site"):
        await down.gps("1/../2", tmp_path / "a", **RANGE)
    assert server.asked == []


async def test_data_download_is_deprecated(server, vrm, tmp_path):
    """The warning points to the call and names the alternatives."""
    server.body = wrapped(CSV)
    with pytest.warns(DeprecationWarning, match=r"stats\.history") as caught:
        await vrm.downloads.data(1, tmp_path / "a", **RANGE)
    assert caught[0].filename == __file__


async def test_data_by_mail_is_sent_once(server, vrm):
    """The answer is JSON, and the request is never repeated."""
    server.body, server.headers = (
        b'{"success": true, "message": "sent"}',
        {"Content-Type": "application/json"},
    )
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await vrm.downloads.data_by_mail(1, **RANGE)
    assert answer["message"] == "sent"
    assert server.asked[0][2]["async"] == "1"


@pytest.mark.parametrize("body", [KML, b"\xef\xbb\xbf  " + KML, wrapped(KML)], ids=["raw", "bom", "base64"])
async def test_tracks_are_kml(server, vrm, tmp_path, body):
    """A track is saved like every other file."""
    server.body = body
    saved = await vrm.downloads.gps(1, tmp_path / "track.kml", **RANGE)
    assert saved.path.read_bytes().endswith(KML)
    assert server.asked[0][1:3] == (
        "/v2/installations/1/gps-download",
        {"start": "1772323200", "end": "1772409600"},
    )


async def test_tracks_that_are_no_kml_are_refused(server, vrm, tmp_path):
    """A table in place of a track is an error."""
    server.body = CSV
    with pytest.raises(DecodeError, match="XML"):
        await vrm.downloads.gps(1, tmp_path / "track.kml", **RANGE)
    assert names(tmp_path) == []


async def test_the_overview_as_a_spreadsheet(server, vrm, tmp_path):
    """The request is a POST that changes nothing."""
    server.body = XLSX
    saved = await vrm.downloads.overview(
        tmp_path / "all.xlsx", [1, 2], columns={"bs": {"hide": True}}, only_visible=True
    )
    assert saved.path.read_bytes() == XLSX
    assert server.asked[0][:2] == ("POST", "/v2/installation-overview-download")
    assert json.loads(server.asked[0][3]) == {
        "jsonResponse": False,
        "siteIds": [1, 2],
        "columns": {"bs": {"hide": True}},
        "onlyVisible": True,
    }


def test_nothing_may_follow_the_end_of_base64():
    """Two base64 texts in one body are an error."""
    unwrap = BodyDecoder()
    unwrap.feed(wrapped(b"x" * 1000))
    with pytest.raises(DecodeError, match="after the end"):
        unwrap.feed(wrapped(b"more"))


@given(st.binary(max_size=3000), st.integers(1, 1500))
def test_any_body_is_decoded_or_refused(body, piece):
    """Any bytes make a file or a `DecodeError`, in chunks of any length."""
    unwrap = BodyDecoder()
    try:
        pieces = [unwrap.feed(body[at : at + piece]) for at in range(0, len(body), piece)]
        pieces.append(unwrap.finish())
    except DecodeError:
        return
    assert unwrap.document is not None or b"".join(pieces)


@given(
    st.binary(min_size=1, max_size=3000),
    st.integers(1, 1500),
    st.sampled_from([wrapped, lines, quoted]),
)
def test_every_file_is_decoded_exactly(content, piece, wrapping):
    """Base64 in chunks of any length is decoded exactly."""
    unwrap, body = BodyDecoder(), wrapping(content)
    pieces = [unwrap.feed(body[at : at + piece]) for at in range(0, len(body), piece)]
    assert b"".join([*pieces, unwrap.finish()]) == content


# --- on the simulator -----------------------------------------------------------------------------------


async def test_every_download_of_the_simulator(tmp_path):
    """Table, spreadsheets and tracks are complete and in their formats."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    async with (
        Simulator(speed=1.0, start=start) as simulator,
        VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as vrm,
    ):
        site, span = simulator.site_ids[0], {"start": start - timedelta(days=2), "end": start}
        table = await vrm.downloads.data(site, tmp_path / "log.csv", escape_formulas=True, **span)
        rows = list(csv.reader(table.path.read_text().splitlines()))
        assert len(rows) == 2 * 96 + 1
        assert {len(row) for row in rows} == {8}
        sheet = await vrm.downloads.data(site, tmp_path / "kwh.xls", format="xls", datatype="kwh", **span)
        overview = await vrm.downloads.overview(tmp_path / "sites.xlsx")
        for saved in (sheet, overview):
            assert "xl/workbook.xml" in zipfile.ZipFile(saved.path).namelist()
        track = await vrm.downloads.gps(site, tmp_path / "track.kml", **span)
        assert b"<LineString>" in track.path.read_bytes()
        assert await vrm.downloads.data_by_mail(site, **span) == {"success": True}
        early = {"start": datetime(2010, 1, 1, tzinfo=UTC), "end": datetime(2010, 2, 1, tzinfo=UTC)}
        with pytest.raises(NoData):
            await vrm.downloads.data(site, tmp_path / "none.csv", **early)
    assert names(tmp_path) == ["kwh.xls", "log.csv", "sites.xlsx", "track.kml"]
