import signal
import socket

import pytest

from tests.servers.command_line import end, run, started


def test_simulate_prints_environment_variables():
    """It prints five export lines on stdout and serves until Ctrl-C, which exits 130 without a traceback."""
    with started("simulate", "--speed", "10") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        names = [line.removeprefix("export ").partition("=")[0] for line in lines]
        assert names == [
            "VRM_TOKEN",
            "VRM_BASE_URL",
            "VOLTSTORAGE_EMAIL",
            "VOLTSTORAGE_PASSWORD",
            "VOLTSTORAGE_BASE_URL",
        ]
        code, rest, err = end(process, signal.SIGINT)
    assert (code, rest) == (130, "")
    assert "Traceback" not in err


def test_sigterm_stops_the_simulator():
    """SIGTERM exits 0."""
    with started("simulate") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert end(process, signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("option", ["--vrm-port", "--voltstorage-port"])
def test_the_ports_can_be_chosen(option):
    """The chosen port is in the printed URL; a port in use is one line and exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run("simulate", option, port)
        assert refused.returncode == 2
        assert (
            refused.stderr
            == "energy-live: cannot listen on the chosen port of 127.0.0.1: Address already in use\n"
        )
    with started("simulate", option, port) as process:
        assert process.stdout is not None
        assert f":{port}/" in "".join(process.stdout.readline() for _ in range(5))
