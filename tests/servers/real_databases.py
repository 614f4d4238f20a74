"""InfluxDB and VictoriaMetrics of Debian, in temporary folders on free ports of 127.0.0.1."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.servers.real_programs import START_S, RealProgram, free_port, need_program


def fetch(url: str, data: bytes | None = None) -> bytes:
    """Send a GET, or a POST with data, and return the body."""
    with urlopen(Request(url, data=data), timeout=START_S) as answer:
        return bytes(answer.read())


def answers(url: str) -> Callable[[], bool]:
    """Return a function that returns whether a URL answers."""

    def ready() -> bool:
        try:
            fetch(url)
        except (URLError, OSError):
            return False
        return True

    return ready


class InfluxDB:
    """A running influxd with one database and, if wanted, one user."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._login = {"u": user, "p": password} if user else {}

    def query(self, text: str, database: str = "home") -> list[dict[str, object]]:
        """Return the series of the answer; times in microseconds."""
        told = urlencode({"q": text, "db": database, "epoch": "u"})
        try:
            answer = json.loads(fetch(f"{self.url}/query?{urlencode(self._login)}", told.encode()))
        except HTTPError as error:
            raise AssertionError(error.read()) from None
        (result,) = answer["results"]
        assert "error" not in result, result
        return result.get("series", [])


_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = {auth}
log-enabled = false
[monitor]
store-enabled = false
"""


def _written(folder: Path, port: int, auth: str) -> str:
    folder.mkdir(exist_ok=True)
    config = folder / "influxdb.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, rpc=free_port(), auth=auth))
    return str(config)


@asynccontextmanager
async def influxdb(
    folder: Path, *, port: int = 0, user: str = "", password: str = ""
) -> AsyncIterator[InfluxDB]:
    """Run influxd with the database `home`."""
    port = port or free_port()
    config = _written(folder, port, "true" if user else "false")
    command = [need_program("influxd", "influxdb"), "-config", config]
    ready = answers(f"http://127.0.0.1:{port}/ping")
    async with RealProgram(*command, ready=ready, log=folder / "log"):
        server = InfluxDB(port, user, password)
        if user:
            told = {"q": f"CREATE USER {user} WITH PASSWORD '{password}' WITH ALL PRIVILEGES"}
            fetch(f"{server.url}/query", urlencode(told).encode())
        server.query("CREATE DATABASE home", "")
        yield server


class VictoriaMetrics:
    """A running victoria-metrics."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """Return all samples that are visible: by name and labels, (time in ms, value)."""
        fetch(f"{self.url}/internal/force_flush")
        lines = fetch(f"{self.url}/api/v1/export?" + urlencode({"match[]": '{__name__!=""}'})).splitlines()
        found = {}
        for each in map(json.loads, lines):
            name = each["metric"].pop("__name__")
            labels = ",".join(f"{key}={value}" for key, value in sorted(each["metric"].items()))
            found[f"{name}{{{labels}}}"] = list(zip(each["timestamps"], each["values"], strict=True))
        return found


@asynccontextmanager
async def victoria_metrics(folder: Path) -> AsyncIterator[VictoriaMetrics]:
    """Run victoria-metrics."""
    port = free_port()
    command = [
        need_program("victoria-metrics", "victoria-metrics"),
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
    ]
    ready = answers(f"http://127.0.0.1:{port}/health")
    async with RealProgram(*command, ready=ready, log=folder / "log"):
        yield VictoriaMetrics(port)
