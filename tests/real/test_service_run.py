"""`energy-live run` as a process, against the simulator: health, reload, end, restart."""

import asyncio
import json
import signal
import sqlite3
import sys
from contextlib import asynccontextmanager, closing, suppress
from itertools import pairwise

import aiohttp
import aiomqtt
import pytest

from energy_live.simulator import Simulator
from tests.real.mosquitto import PASSWORD, USER, Mosquitto
from tests.servers.command_line import COMMAND, DEADLINE_S, environment
from tests.servers.real_programs import free_port, until

SPEED = 60.0
GAPS = "SELECT * FROM gaps WHERE quantities = '[]'"
"""Those of single quantities are what the export of VoltStorage lacks."""


class Running:
    """A service that runs, with the address of its health."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    async def get(self, path):
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            assert self.process.returncode is None, await self.process.stderr.read()
            return 0, ""

    async def status(self):
        code, text = await self.get("/status")
        return json.loads(text) if code == 200 else None

    async def written(self, output, least=1):
        """Wait until an output has written readings; return the status."""

        async def enough():
            status = await self.status()
            found = status and status["outputs"].get(output)
            return status if found and found["written"] >= least else None

        return await until(enough, DEADLINE_S)

    async def end(self, number=signal.SIGTERM):
        """End it; return its exit code and log lines."""
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode().splitlines()


@asynccontextmanager
async def running(simulator, *arguments, env=None, interval=1.0):
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("run", "--health", f"127.0.0.1:{port}", "--interval", str(interval), *arguments),
        env=environment(simulator.environment() | (env or {})),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
async def simulator():
    async with Simulator(speed=SPEED, frame_s=0.1) as made:
        yield made


def rows(path, select):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(select).fetchall()


async def test_a_service_stores_tells_its_state_and_continues(simulator, tmp_path):
    """Nothing is lost or doubled over an orderly restart, and the log has no warning."""
    path = tmp_path / "energy.sqlite"
    arguments = ("--state", str(tmp_path), "--site", "151001", "--product", "301")
    async with running(simulator, *arguments) as service:
        status = await service.written("sqlite", 20)
        assert (await service.get("/healthz")) == (200, "ok\n")
        assert await service.end() == (0, [])
    output = status["outputs"]["sqlite"]
    assert (output["state"], output["lost"], output["gaps"], output["refused"]) == ("live", 0, 0, 0)
    assert {each.partition("/")[0] for each in status["sources"]} == {"vrm", "voltstorage", "energy"}
    before = rows(path, "SELECT count(*) FROM readings")[0][0]
    async with running(simulator, *arguments) as service:
        await service.written("sqlite", 20)
        assert await service.end() == (0, [])
    assert rows(path, "SELECT count(*) FROM readings")[0][0] > before
    times = "SELECT DISTINCT unix_time FROM readings WHERE source LIKE 'voltstorage/%/301/0' ORDER BY 1"
    seconds = [int(time) for (time,) in rows(path, times)]
    assert [(a, b) for a, b in pairwise(seconds) if b - a > SPEED * 0.1 + 2] == []
    slots = "SELECT DISTINCT CAST(unix_time AS INTEGER) / 60 FROM readings WHERE source LIKE 'vrm/%/151001/0'"
    minutes = sorted(minute for (minute,) in rows(path, slots))
    assert minutes == list(range(minutes[0], minutes[-1] + 1))
    assert rows(path, GAPS) == []


async def test_a_reload_adds_and_removes_outputs_and_keeps_the_others(simulator, tmp_path):
    """A mistake in the file changes nothing and is one line in the log; the next reload corrects it."""
    config = tmp_path / "energy-live.toml"

    def write(*outputs, more=""):
        entries = "".join(
            f'[[output]]\nto = "sqlite:{name}.sqlite"\nname = "{name}"\n{rest}\n' for name, rest in outputs
        )
        config.write_text(f'state = "{tmp_path}"\nlog_format = "json"\n{more}\n{entries}')

    async def with_outputs(*names):
        async def there():
            status = await service.status()
            return status and set(status["outputs"]) == {"energies", *names}

        await until(there, DEADLINE_S)

    write(("one", ""), ("two", ""))
    async with running(simulator, "--config", str(config)) as service:
        await service.written("one", 5)
        write(("one", ""), ("three", 'quantities = ["pv_power"]'))
        service.process.send_signal(signal.SIGHUP)
        await with_outputs("one", "three")
        await service.written("three", 5)
        write(("one", ""), ("three", "evry = 5"))
        service.process.send_signal(signal.SIGHUP)
        await service.written("one", 60)
        await with_outputs("one", "three")
        write(("one", "every = 30"), ("three", ""), more="[vrm]\nsites = [151001]")
        service.process.send_signal(signal.SIGHUP)

        async def one_site():
            status = await service.status()
            sites = [each for each in (status or {"sources": ()})["sources"] if each.startswith("vrm/")]
            return sites == ["vrm/1001/151001/0"]

        await until(one_site, DEADLINE_S)
        code, log = await service.end()
    assert code == 0
    lines = [json.loads(line) for line in log]
    assert [each["message"] for each in lines if each["level"] == "error"] == [
        f"the old settings stay: {config}: output 2: unknown key 'evry'; did you mean 'every'?"
    ]
    assert sum("the settings were read again" in each["message"] for each in lines) == 2
    one = rows(tmp_path / "one.sqlite", "SELECT count(*) FROM readings WHERE quantity = 'battery_soc'")
    assert one[0][0] > 0
    assert rows(tmp_path / "one.sqlite", GAPS) == []
    slots = "SELECT DISTINCT CAST(unix_time AS INTEGER) / 60 FROM readings WHERE source LIKE 'vrm/%/151001/0'"
    minutes = sorted(minute for (minute,) in rows(tmp_path / "one.sqlite", slots))
    assert minutes == list(range(minutes[0], minutes[-1] + 1))


async def test_the_past_is_loaded_into_an_empty_output(simulator, tmp_path):
    """`--since 2h` fills the database with two hours before the start; a second start loads nothing again."""
    arguments = ("--state", str(tmp_path), "--since", "2h", "--product", "301")
    first = "SELECT min(unix_time), max(unix_time) FROM readings WHERE source LIKE 'voltstorage/%'"
    async with running(simulator, *arguments) as service:

        async def loaded():
            path = tmp_path / "energy.sqlite"
            try:
                start, end = rows(path, first)[0]
            except sqlite3.OperationalError:
                return False
            return start is not None and end - start >= 7200

        await until(loaded, DEADLINE_S)
        await service.end()
    assert rows(tmp_path / "energy.sqlite", GAPS) == []


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (
            (),
            {"VRM_TOKEN": "", "VOLTSTORAGE_EMAIL": "", "VOLTSTORAGE_PASSWORD": ""},
            "no credentials: set",
        ),
        ((), {"VRM_TOKEN_FILE": "/nowhere", "VRM_TOKEN": ""}, "/nowhere cannot be read"),
        (("--to", "mysql:x"), {}, "mysql: is no known output"),
        (("--state", "/proc/nowhere"), {}, "the folder /proc/nowhere cannot be made"),
    ],
)
async def test_a_wrong_start_is_one_line(simulator, tmp_path, arguments, variables, said):
    state = () if "--state" in arguments else ("--state", str(tmp_path))
    async with running(simulator, *state, *arguments, env=variables) as service:
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await service.process.communicate()
    (line,) = errors.decode().splitlines()
    assert service.process.returncode == 2
    assert line.startswith("energy-live: ")
    assert said in line


async def test_two_services_need_two_folders(simulator, tmp_path):
    async with running(simulator, "--state", str(tmp_path)) as service:
        await service.written("sqlite")
        async with running(simulator, "--state", str(tmp_path)) as second:
            async with asyncio.timeout(DEADLINE_S):
                _, errors = await second.process.communicate()
    assert second.process.returncode == 2
    assert f"another energy-live uses {tmp_path}" in errors.decode()


async def test_an_account_that_refuses_ends_the_service(simulator, tmp_path):
    """With its error and exit code 1, so that systemd tries again."""
    async with running(
        simulator, "--state", str(tmp_path), "--product", "301", env={"VOLTSTORAGE_PASSWORD": "wrong"}
    ) as service:
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await service.process.communicate()
    assert service.process.returncode == 1
    assert "wrong" not in errors.decode().replace("wrong email", "")


async def test_the_demo_needs_nothing(tmp_path):
    """`--demo` stores the simulated household, and leaves nothing behind."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "energy_live", "run", "--demo", "--health", f":{port}"),
        env=environment({"TMPDIR": str(tmp_path)}),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        service = Running(process, port)
        await service.written("sqlite", 5)
        assert await service.end() == (0, [])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert list(tmp_path.iterdir()) == []


async def test_devices_of_sites_that_are_not_read_any_more_vanish_from_the_broker(simulator, tmp_path):
    """Two sites are published; after a reload of one, Home Assistant keeps only its device."""
    config = tmp_path / "energy-live.toml"
    password = {"MQTT_PASSWORD": PASSWORD}

    def write(sites, url):
        accounts = f"[vrm]\nsites = {sites}\n[voltstorage]\nenabled = false\n"
        config.write_text(f'state = "{tmp_path}"\n{accounts}[[output]]\nto = "{url}"\n')

    async with Mosquitto(tmp_path) as broker:

        async def devices():
            async with aiomqtt.Client("127.0.0.1", broker.port, username=USER, password=PASSWORD) as client:
                await client.subscribe("homeassistant/device/#")
                found = []
                with suppress(TimeoutError):
                    while True:
                        message = await asyncio.wait_for(anext(client.messages), 0.3)
                        found.append(message.topic.value)
                return {site for site in ("151001", "151002") if any(site in topic for topic in found)}

        async def are(*sites):
            return await devices() == set(sites)

        write([151001, 151002], broker.url)
        async with running(simulator, "--config", str(config), env=password) as service:
            await until(lambda: are("151001", "151002"), DEADLINE_S)
            write([151001], broker.url)
            service.process.send_signal(signal.SIGHUP)
            await until(lambda: are("151001"), DEADLINE_S)
            code, _ = await service.end()
    assert code == 0
