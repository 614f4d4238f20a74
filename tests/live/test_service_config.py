"""Settings, secrets, log lines and messages to systemd of `energy-live run`."""

import asyncio
import json
import logging
import re
import socket
from datetime import timedelta

import pytest

from energy_live.environment import Accounts
from energy_live.runner import UsageError
from energy_live.service.config import OutputSettings, ServiceConfig, complete, load_config, parse_listen
from energy_live.service.log_lines import JsonLogFormatter, LineFormatter
from energy_live.service.secret_files import SecretEnvironment
from energy_live.service.service import ServiceSetup, check, state_folder
from energy_live.service.start import Options
from energy_live.service.systemd import SystemdNotifier
from tests.servers.command_line import run


def loaded(tmp_path, text):
    path = tmp_path / "energy-live.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_a_file_is_read(tmp_path):
    """Outputs without a name get the word before the colon, numbered if need be."""
    config = loaded(
        tmp_path,
        """
        since = "4w"
        [vrm]
        sites = [1, 2]
        interval_s = 30
        [[output]]
        to = "sqlite:a.sqlite"
        [[output]]
        to = "sqlite:b.sqlite?raw_days=3"
        every = 60
        quantities = ["pv_power"]
        [[output]]
        to = "influx+https://db/?db=home"
        name = "sqlite-3"
        """,
    )
    assert config.vrm.sites == (1, 2)
    assert config.vrm.interval_s == 30.0
    assert config.since_span == timedelta(days=28)
    assert [each.name for each in config.output] == ["sqlite", "sqlite-2", "sqlite-3"]
    assert config.output[1].choice.every == 60.0


WRONG = {
    'evry = "x"': "unknown key 'evry'; it may be state, since",
    'sinc = "30d"': "unknown key 'sinc'; did you mean 'since'?",
    "[vrm]\nsites = 5": "vrm: sites must be a list, not 5",
    '[vrm]\nsites = ["5"]': "vrm: sites 1 must be a whole number, not '5'",
    "[vrm]\nsites = [true]": "vrm: sites 1 must be a whole number, not True",
    "[vrm]\ninterval_s = 0": "interval_s must be above 0, not 0",
    "vrm = 5": "vrm must be a table, not 5",
    "[[output]]\nevery = 5": "output 1: the key 'to' is missing",
    '[[output]]\nto = "sqlite:a"\nevry = 5': "output 1: unknown key 'evry'; did you mean 'every'?",
    '[[output]]\nto = "sqlite:a"\nquantities = ["volts"]': "output 1: 'volts' is not a valid Quantity",
    '[[output]]\nto = "sqlite:a"\nevery = -1.0': "output 1: every must be a number of seconds from 0 on",
    '[[output]]\nto = "sqlite:a"\nbuffer = 0': "output 1: buffer must be at least 1",
    '[[output]]\nto = "sqlite:a"\nname = "a/b"': "output 1: a name has letters, digits",
    '[[output]]\nto="sqlite:a"\nname="x"\n[[output]]\nto="sqlite:b"\nname="x"': "output 2: another output",
    'since = "soon"': "since must be a number and h, d or w",
    'since = "400d"': "up to 366d",
    'log_format = "xml"': "log_format must be text or json, not xml",
    'log_level = "loud"': "log_level must be debug, info, warning or error, not loud",
    'health = "8080"': "health must be HOST:PORT or :PORT",
    "x = = 1": "is not TOML: Invalid value (at line 1, column 5)",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_a_mistake_is_one_line_that_says_what_and_where(tmp_path, text, said):
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value)
    assert "energy-live.toml" in message or text.startswith("since")
    assert said in message
    assert "\n" not in message


PASSWORDS = [
    "postgresql://me:hunter2@db/energy",
    "mqtt://me:hunter2@broker",
    "influx+https://db/?db=x&token=hunter2",
    "postgresql://db/energy?password=hunter2",
]


@pytest.mark.parametrize("address", PASSWORDS)
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(UsageError) as caught:
        complete(ServiceConfig(output=(OutputSettings(to=address),)), "options")
    assert "holds a password" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    done = run("run", "--check-config", "--to", address)
    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none.toml cannot be read, No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'state = "\xe9"')
    with pytest.raises(UsageError, match="is not a text in UTF-8"):
        load_config(tmp_path / "latin.toml")


def test_options_come_on_top_of_the_file(tmp_path):
    """`--to` adds an output; sites and products that are named are all that is read, as in other commands."""
    path = tmp_path / "energy-live.toml"
    path.write_text('since = "1d"\nhealth = ":1"\n[[output]]\nto = "sqlite:a"\n')
    config = Options(file=str(path), targets=("sqlite:b",), since="2d", health="", sites=(7,)).config()
    assert [each.to for each in config.output] == ["sqlite:a", "sqlite:b"]
    assert (config.since, config.health, config.vrm.sites) == ("2d", "", (7,))
    assert (config.vrm.enabled, config.voltstorage.enabled) == (True, False)


@pytest.mark.parametrize(
    ("address", "place"), [(":80", ("127.0.0.1", 80)), ("0.0.0.0:9", ("0.0.0.0", 9)), ("[::1]:7", ("::1", 7))]
)
def test_an_address_to_listen_on(address, place):
    assert parse_listen(address, "health") == place


async def checked(*targets, environment=None):
    setup = ServiceSetup(load=Options(targets=targets).config, environment=environment or {})
    return await check(setup)


async def test_addresses_are_checked():
    """Nothing is connected: a wrong address, option or scheme is one line."""
    assert await checked("sqlite:x?raw_days=3") == "the settings are right: 1 output, sqlite"
    for address, said in (
        ("mysql://db", "output mysql: mysql: is no known output; there are sqlite:, "),
        ("sqlite:", "output sqlite: the address of SQLite needs a file"),
        ("sqlite:x?raw_days=soon", "not raw_days=soon"),
        ("sqlite:x?days=3", "accepts raw_days, minute_days, hour_days, event_days"),
        ("influx+http://db", "output influx: the InfluxDB address needs"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            await checked(address)


def test_secrets_are_found_in_files(tmp_path):
    """The variable, the file it names, systemd's credentials, Docker's secrets, in this order."""
    credentials, docker = tmp_path / "credentials", tmp_path / "docker"
    credentials.mkdir()
    docker.mkdir()
    (tmp_path / "token").write_text("named\n")
    (credentials / "VRM_TOKEN").write_text("systemd\r\n")
    (docker / "vrm_token").write_text("docker")
    (docker / "pgpassword").write_text(" spaces \n")
    variables = {"CREDENTIALS_DIRECTORY": str(credentials)}
    found = [
        SecretEnvironment(each, docker=docker).secret("VRM_TOKEN").reveal()
        for each in (
            {**variables, "VRM_TOKEN": "own", "VRM_TOKEN_FILE": str(tmp_path / "token")},
            {**variables, "VRM_TOKEN_FILE": str(tmp_path / "token")},
            variables,
            {},
        )
    ]
    assert found == ["own", "named", "systemd", "docker"]
    environment = SecretEnvironment(variables, docker=docker)
    assert Accounts.from_environment(environment).vrm_token.reveal() == "systemd"
    assert environment.secret("PGPASSWORD").reveal() == " spaces "
    assert environment.secret("MQTT_PASSWORD") is None
    assert "systemd" not in repr(environment)


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 70000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, said in (("none", "cannot be read"), ("large", "too large"), ("binary", "not a text")):
        environment = SecretEnvironment({"VRM_TOKEN_FILE": str(tmp_path / name)})
        with pytest.raises(UsageError, match=f"VRM_TOKEN_FILE: .*{name}.*{said}"):
            environment.secret("VRM_TOKEN")


def test_the_folder_of_the_state(tmp_path):
    assert str(state_folder(ServiceConfig(state="/x"), {})) == "/x"
    assert str(state_folder(ServiceConfig(), {"STATE_DIRECTORY": "/a:/b"})) == "/a"
    assert str(state_folder(ServiceConfig(), {"XDG_STATE_HOME": "/s"})) == "/s/energy-live"


def record(message, *arguments, error=None):
    info = (type(error), error, None) if error else None
    return logging.LogRecord("energy_live.x", logging.WARNING, "f", 1, message, arguments, info)


def test_log_lines():
    """JSON has time, level, logger, message and exception; text cannot be broken into two records."""
    line = json.loads(JsonLogFormatter().format(record("a %s\nb", "“x”", error=ValueError("bad"))))
    assert line.pop("time").endswith("+00:00")
    assert "ValueError: bad" in line.pop("exception")
    assert line == {"level": "warning", "logger": "energy_live.x", "message": "a “x”\nb"}
    assert LineFormatter().format(record("a\nb")) == "energy-live: warning: a b"


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_is_told(tmp_path, abstract):
    """One datagram a message, to a path or a name in the abstract namespace."""
    name = "@energy-live-test" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
        notifier.ready("two\nlines")
        notifier.reloading(1.5)
        notifier.alive()
        notifier.stopping()
        messages = [listener.recv(1000).decode() for _ in range(4)]
    assert messages == [
        "READY=1\nSTATUS=two lines",
        "RELOADING=1\nMONOTONIC_USEC=1500000",
        "WATCHDOG=1",
        "STOPPING=1",
    ]
    SystemdNotifier({}).ready("without a socket")
    await asyncio.sleep(0)
