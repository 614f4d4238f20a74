"""docs/how-to/cluster.md is followed from an empty folder, with a real nats-server and simulated services."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("nats", reason="nats-py is missing: pip install 'energy-live[nats]'")

from energy_live.simulator import Simulator
from tests.paths.snippets import Enough, document, snippets_of
from tests.paths.snippets import run as run_snippet
from tests.servers.command_line import environment, run
from tests.servers.nats_servers import NatsServer, need_nats_server
from tests.servers.real_programs import RealProgram, until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/deploy/cluster"
PAGE = document("docs/how-to/cluster.md")
PASSWORDS = {f"{user}_PASSWORD": f"{user.lower()}-secret" for user in ("ADMIN", "COLLECTOR", "CONSUMER")}


def test_its_links_exist():
    for link in re.findall(r"\]\(([^)#:]+)[)#]", PAGE):
        assert (ROOT / "docs/how-to" / link).exists(), link


def commands() -> list[list[str]]:
    """Return the arguments of each `energy-live` of the page's shell blocks."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            if "venv/bin/energy-live" in words:
                found.append(words[words.index("venv/bin/energy-live") + 1 :])
    return found


async def test_followed_from_an_empty_folder(tmp_path, monkeypatch):
    """Server, log, two hosts, status, and the program that reads the log."""
    monkeypatch.chdir(tmp_path)
    for name in ("nats-server.conf", "energy-live.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    for name, value in PASSWORDS.items():
        monkeypatch.setenv(name, value)
    spare = NatsServer(tmp_path / "spare")  # for a free port
    port = f"127.0.0.1:{spare.port}"
    config = (tmp_path / "nats-server.conf").read_text()
    (tmp_path / "nats-server.conf").write_text(
        config.replace("0.0.0.0:4222", port).replace("50GB", "1GB") + f"\nhttp: 127.0.0.1:{spare.http}\n"
    )
    server = RealProgram(
        need_nats_server(), "-c", "nats-server.conf", ready=spare.answers, log=tmp_path / "log"
    )
    create, serve = commands()
    settings = (tmp_path / "energy-live.toml").read_text().replace("127.0.0.1:4222", port)
    async with Simulator(speed=30.0) as simulator, server:
        addresses = {"solar park": simulator.vrm_url, "batteries": simulator.voltstorage_url}
        for name, address in addresses.items():
            settings = settings.replace(f'name = "{name}"\n', f'name = "{name}"\nbase_url = "{address}"\n')
        settings = settings.replace("owner@example.com", simulator.volt_email)
        (tmp_path / "energy-live.toml").write_text(settings)
        admin = {"NATS_URL": f"nats://{port}", "NATS_USER": "admin", "NATS_PASSWORD": "admin-secret"}
        small = ["1000000" if each == "50000000000" else each for each in create]
        done = await asyncio.to_thread(run, *small, env=environment(admin))
        assert done.stdout == "the stream ENERGY and its buckets are created\n", done.stderr
        hosts = admin | {"NATS_USER": "collector", "NATS_PASSWORD": "collector-secret"}
        secrets = {"PARK_TOKEN": simulator.vrm_token, "BATTERIES_PASSWORD": simulator.volt_password}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "energy_live", *serve, env=environment(hosts | secrets)
        )
        try:
            await until(lambda: all_polled(hosts))
            (snippet,) = snippets_of(PAGE)
            monkeypatch.setenv("NATS_USER", "consumer")
            monkeypatch.setenv("NATS_PASSWORD", "consumer-secret")
            with pytest.raises(Enough):
                await run_snippet(
                    snippet.replace("nats://127.0.0.1:4222", f"nats://{port}"),
                    {"print": enough, "__name__": "page"},
                )
        finally:
            process.terminate()
            assert await process.wait() == 0


async def all_polled(env) -> bool:
    done = await asyncio.to_thread(run, "cluster", "status", env=environment(env))
    return done.returncode == 0 and "solar park" in done.stdout and "batteries" in done.stdout


def enough(*words: object) -> None:
    assert words[0] > 0
    raise Enough
