"""A PostgreSQL server on a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.servers.real_programs import accepts, free_port, need_program

PASSWORD = "a pass'word"

_CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
port = {port}
max_connections = 40
fsync = {fsync}
log_min_messages = warning
"""


def _program(name: str) -> str:
    return need_program(name, "postgresql", folders=("/usr/lib/postgresql/*/bin",))


class PostgreSQLServer:
    """A server that can be stopped, killed and started again; `url` has no password.

    Args:
        fsync: False: a crash of the machine, which tests do not cause, would lose data.
        folder: A folder for the data, such as one of a small file system; None: a temporary folder.
    """

    def __init__(self, *, fsync: bool = False, folder: Path | None = None) -> None:
        _program("initdb")
        self.folder = Path(tempfile.mkdtemp(prefix="pg-")) if folder is None else folder
        self.folder.mkdir(exist_ok=True)
        self.data = self.folder / "data"
        # The program refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", self.data, "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "-N")
        config = _CONFIG.format(folder=self.folder, port=self.port, fsync="on" if fsync else "off")
        (self.data / "conf.d").mkdir()
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(config)
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, _program(program), *map(str, arguments)]
        # The server inherits the streams of pg_ctl: a pipe would stay open as long as it runs.
        with (self.folder / "log").open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=self.folder, timeout=120, check=False)
        if done.returncode:
            pytest.fail(f"{program} failed:\n{(self.folder / 'log').read_text()[-2000:]}")

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends the sessions, `immediate` crashes it."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-m", mode, "stop")

    def is_running(self) -> bool:
        """Return whether it accepts connections."""
        return accepts(self.port)

    def enable_tls(self) -> None:
        """Offer TLS with `server.key` and `server.crt` of the data folder."""
        for name in ("server.key", "server.crt"):
            if self._as:
                shutil.chown(self.data / name, "postgres", "postgres")
            (self.data / name).chmod(0o600)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it if it runs, and delete its folder."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, *statements: str, database: str = "postgres") -> Sequence[str]:
        """Run statements with psql; return the lines of the last one's result, columns separated by ``|``."""
        command = [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", "postgres", "-d", database]
        for each in statements:
            command += ["-c", each]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """Run one server for all tests of the session; a test that stops it starts it again."""
    server = PostgreSQLServer()
    try:
        yield server
    finally:
        server.remove()
