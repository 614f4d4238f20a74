"""From events to stores: each output beside its bare driver, with the same rows, in turn.

The stores are real: SQLite and Parquet files on this disk, and Debian's PostgreSQL, InfluxDB and mosquitto on
this machine, started in temporary folders. What is not installed is left out.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.request import urlopen

from benchmarks.rounds import Side, Table, compare

READY_S: Final = 60.0


class Case(NamedTuple):
    """One output and its bare driver."""

    id: str
    title: str
    ours: str
    bare: str
    words: str
    """The bare driver, in words."""
    readings: int


CASES: Final = (
    Case("sqlite", "SQLite", "OurSqlite", "BareSqlite", "sqlite3, executemany", 20_000),
    Case("postgres", "PostgreSQL", "OurPostgres", "BarePostgres", "asyncpg, COPY", 20_000),
    Case("influx", "InfluxDB", "OurInflux", "BareInflux", "aiohttp, lines and POST", 20_000),
    Case("mqtt", "MQTT, QoS 1", "OurMqtt", "BareMqtt", "aiomqtt, publish at once", 2_000),
    Case("parquet", "Parquet files", "OurParquet", "BareParquet", "pyarrow, ParquetWriter", 20_000),
)
OURS: Final = "energy-live"


TOGETHER: Final = "five outputs, one of them down"
AN_HOUR: Final = "one hour"
_HOUR: Final = 36_000
"""Readings of an hour, ten a second."""


def tables(rounds: int = 7) -> Iterator[Table]:
    """Run the comparisons."""
    with TemporaryDirectory(prefix="storing-") as folder, ExitStack() as stack:
        places = {"folder": folder}
        for case in CASES:
            server = _SERVERS.get(case.id)
            options: Mapping[str, str] | None = {"folder": folder}
            if server is not None:
                options = stack.enter_context(server(Path(folder, case.id)))
            if options is None:
                print(f"storing-{case.id} is left out: its server is not installed", flush=True)
                continue
            if "url" in options:
                places[case.id] = options["url"]
            make = "local" if server is None else "remote"
            yield compare(
                f"storing-{case.id}",
                f"{case.title}, 4 values a reading",
                "benchmarks.stores" if server is None else "benchmarks.stores_remote",
                (
                    Side(case.words, make, options={"name": case.bare}),
                    Side(OURS, make, options={"name": case.ours}),
                ),
                base=case.words,
                unit="value",
                rounds=rounds,
                options={"readings": case.readings, **options},
            )
        yield together(places, max(1, rounds // 2))
    yield outage(max(1, rounds // 2))


def together(places: Mapping[str, str], rounds: int) -> Table:
    """Measure the delay of the outputs, from arrival to store, while one of them is down."""
    if "influx" in places:
        with urlopen(f"{places['influx']}/query", data=b"q=CREATE DATABASE together") as answer:
            answer.read()
    return compare(
        "storing-together",
        "1,000 readings a second into four outputs, while a fifth is down: p99 of the slowest",
        "benchmarks.feeding",
        (Side(TOGETHER, "together"),),
        base=TOGETHER,
        unit="reading",
        rounds=rounds,
        options={"places": places, "seconds": 20.0, "per_second": 1000},
    )


def outage(rounds: int) -> Table:
    """Measure the memory that is held while an output is down for an hour, and for a tenth of it."""
    sides = (
        Side("six minutes", "outage", options={"readings": _HOUR // 10}),
        Side(AN_HOUR, "outage", options={"readings": _HOUR}),
    )
    return compare(
        "storing-outage",
        "An output is down, ten readings a second",
        "benchmarks.feeding",
        sides,
        base="six minutes",
        unit="reading",
        rounds=rounds,
        options={},
        alike=False,
    )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + READY_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text()[-1000:])
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _influx(folder: Path) -> Iterator[Mapping[str, str] | None]:
    program, port = shutil.which("influxd"), _free_port()
    if program is None:
        yield None
        return
    folder.mkdir()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{_free_port()}"\n'
        "[monitor]\nstore-enabled = false\n"
        f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
    )
    with _running([program, "-config", str(config)], folder, port):
        yield {"url": f"http://127.0.0.1:{port}"}


@contextmanager
def _mosquitto(folder: Path) -> Iterator[Mapping[str, str] | None]:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    port = _free_port()
    if program is None:
        yield None
        return
    folder.mkdir()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\nmax_inflight_messages 0\n"
    )
    with _running([program, "-c", str(config)], folder, port):
        yield {"url": f"mqtt://127.0.0.1:{port}"}


@contextmanager
def _postgres(folder: Path) -> Iterator[Mapping[str, str] | None]:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        yield None
        return
    folder.mkdir()
    # The server refuses to run as root, and so does initdb.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        folder.parent.chmod(0o755)
        shutil.chown(folder, "postgres")
    port, data = _free_port(), folder / "data"
    command = [*user, str(places[-1] / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    (folder / "log").touch()
    with _running([*user, str(places[-1] / "postgres"), "-D", str(data), *options], folder, port):
        yield {"url": f"postgresql://postgres@127.0.0.1:{port}/postgres", "password": "none"}


_SERVERS: Final = {"influx": _influx, "mqtt": _mosquitto, "postgres": _postgres}


if __name__ == "__main__":
    for table in tables():
        print(table, end="\n\n", flush=True)
