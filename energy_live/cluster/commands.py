"""The commands `energy-live cluster ...` and their options.

Each imports what it needs when it runs: `--help` needs no NATS.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

import click

from energy_live.runner import print_error, run

F = TypeVar("F", bound=Callable[..., object])

FORMATS: Final = ("table", "json", "csv")
EXTRA: Final = 'a cluster needs an extra: pip install "energy-live[nats]"'


def _server_options(command: F) -> F:
    for add in (
        click.option("--stream", default="ENERGY", show_default=True, help="Name of the log."),
        click.option(
            "--cluster",
            "url",
            envvar="NATS_URL",
            default="nats://127.0.0.1:4222",
            metavar="URL",
            help="Servers, with commas between them. Default: NATS_URL, else nats://127.0.0.1:4222.",
        ),
    ):
        command = add(command)
    return command


def _print(work: Callable[[], Coroutine[object, object, str]]) -> int:
    lines: list[str] = []

    async def collect() -> None:
        lines.append(await work())

    code = run(collect())
    for line in lines:
        click.echo(line)
    return code


def _has_nats() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415

    return find_spec("nats") is not None


@click.group()
def cluster() -> None:
    """Look at, and steer, the hosts that `energy-live run --cluster` runs on.

    Credentials come from the environment: NATS_USER and NATS_PASSWORD, NATS_TOKEN, or NATS_CREDS, a file;
    NATS_CA is the certificate authority of the servers.
    """


@cluster.command()
@_server_options
@click.option(
    "--format", "form", type=click.Choice(("table", "json", "csv")), default="table", show_default=True
)
def status(*, url: str, stream: str, form: str) -> int:
    """Show who polls which account, and how far consumers are behind.

    A row for each account has its host, the state of its source, what is left of its rate limit, how many
    events were published, how many wait, and how many gaps were reported. Exit code 1: an account is not
    polled.
    """
    if not _has_nats():
        return print_error(EXTRA)
    from energy_live.cluster.reports import status_report  # noqa: PLC0415
    from energy_live.reports.output import run_report  # noqa: PLC0415

    return run_report(status_report(url, stream), form)


@cluster.command()
@_server_options
@click.option("--undo", is_flag=True, help="Let the host take accounts again.")
@click.argument("host", metavar="HOST")
def drain(*, url: str, stream: str, host: str, undo: bool) -> int:
    """Let HOST hand over all its accounts, for example before maintenance, and wait for it."""
    if not _has_nats():
        return print_error(EXTRA)
    from energy_live.cluster.reports import drain_report  # noqa: PLC0415

    return _print(lambda: drain_report(url, stream, host, undo=undo))


@cluster.command()
@_server_options
@click.option("--replicas", type=click.IntRange(1, 5), help="Copies. Default: 3 in a cluster, else 1.")
@click.option(
    "--max-age", "days", type=click.FloatRange(min=0.01), default=30.0, help="Days until an event leaves."
)
@click.option("--max-bytes", type=click.IntRange(min=-1), default=-1, help="Bytes of the log; -1: no limit.")
def create(*, url: str, stream: str, replicas: int | None, days: float, max_bytes: int) -> int:
    """Create the log and its buckets, as a user who may; collectors need fewer permissions then.

    What exists is only checked; change it with the tool `nats`.
    """
    if not _has_nats():
        return print_error(EXTRA)
    from energy_live.cluster.log import LogLimits  # noqa: PLC0415
    from energy_live.cluster.reports import create_report  # noqa: PLC0415

    limits = LogLimits(max_age_days=days, max_bytes=max_bytes, replicas=replicas)
    return _print(lambda: create_report(url, stream, limits))
