"""Commands of `energy-live` and their options.

Each command imports what it needs when it runs, so that `--help` stays below 150 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import click

from energy_live.cluster.commands import cluster as cluster_commands
from energy_live.reports.commands import COMMANDS, SiteNumber, select_sites
from energy_live.runner import INTERRUPTED, print_error, run
from energy_live.service.command import run as run_service_command

F = TypeVar("F", bound=Callable[..., object])

ACCELERATORS: Final = ("msgspec", "orjson", "uvloop")
"""Packages of the extra `speed`, used where they are installed."""
FORMATS: Final = ("table", "json", "jsonl", "csv")


def _positive(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"must be a number above 0, not {value}", param=option)
    return value


def _speed_in_range(_: click.Context, option: click.Parameter, value: float) -> float:
    if not 0.01 <= value <= 3600:
        raise click.BadParameter(f"must be from 0.01 to 3600, not {value}", param=option)
    return value


def _display_options(command: F) -> F:
    """Add the options of every command that shows a stream."""
    for add in (
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            help="Output format: json and jsonl are one JSON object a line, csv one line for each value. "
            "Default: table in a terminal, jsonl elsewhere.",
        ),
        click.option(
            "--seconds",
            type=float,
            metavar="S",
            callback=_positive,
            help="Stop after this many seconds. Default: never.",
        ),
        click.option(
            "--events",
            type=click.IntRange(min=1),
            metavar="N",
            help="Stop after this many readings. Default: never.",
        ),
        click.option(
            "--checkpoint",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Save the position in this file and resume from it. Default: start with new events.",
        ),
        click.option(
            "--from-now",
            is_flag=True,
            help="Start with new events and replace the file of --checkpoint.",
        ),
    ):
        command = add(command)
    return command


def _speed_option(default: float) -> Callable[[F], F]:
    return click.option(
        "--speed",
        type=float,
        metavar="X",
        default=default,
        show_default=True,
        callback=_speed_in_range,
        help="Speed of the simulated household's clock; 1 is real time.",
    )


_realtime_option = click.option(
    "--realtime",
    is_flag=True,
    help="Receive VRM's values over MQTT as they change, about one a second, and fill what is missed. "
    "Needs the extra 'mqtt'.",
)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    try:
        name = f"energy-live {version('energy-live')}"
    except PackageNotFoundError:
        name = "energy-live, run from its source tree"
    found = [package for package in ACCELERATORS if find_spec(package)]
    click.echo(f"{name}, faster with {', '.join(found)}" if found else f"{name}, without accelerators")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Watch a home's energy: Victron VRM and VoltStorage in one live stream."""


@commands.command()
@_display_options
@_speed_option(30.0)
@_realtime_option
@click.pass_context
def demo(
    context: click.Context,
    *,
    events: int | None,
    seconds: float | None,
    format: str | None,  # noqa: A002
    checkpoint: str | None,
    from_now: bool,
    speed: float,
    realtime: bool,
) -> int:
    """Show the merged stream of a simulated household.

    Starts a simulator of both services on this machine and connects the real clients to it. Needs no account
    and no network. With --realtime it also starts a broker, which has to be installed (mosquitto), and the
    household's clock runs in real time.
    """
    from energy_live.demo import show_demo  # noqa: PLC0415
    from energy_live.display.output import DisplayOptions  # noqa: PLC0415

    options = DisplayOptions(
        readings=events, seconds=seconds, format=format, checkpoint=checkpoint, from_now=from_now
    )
    if realtime and context.get_parameter_source("speed") is click.core.ParameterSource.DEFAULT:
        speed = 1.0
    if realtime and speed != 1.0:
        raise click.UsageError("--realtime needs --speed 1: its readings have the time of their arrival")
    return run(show_demo(options, speed=speed, realtime=realtime))


@commands.command()
@select_sites
@click.option(
    "--interval",
    type=float,
    metavar="S",
    default=60.0,
    show_default=True,
    callback=_positive,
    help="Seconds between two polls of VRM.",
)
@_realtime_option
@_display_options
def watch(
    *,
    sites: tuple[int, ...],
    products: tuple[int, ...],
    interval: float,
    realtime: bool,
    events: int | None,
    seconds: float | None,
    format: str | None,  # noqa: A002
    checkpoint: str | None,
    from_now: bool,
) -> int:
    """Show the merged stream of your own sites and products.

    Shows every site and product of your accounts, or only those named with --site and --product.

    \b
    Credentials come from the environment, never from the command line:
      VRM_TOKEN              a VRM access token
      VRM_ACCOUNT            a name for the account in events and checkpoints;
                             default: VRM's user id
      VRM_BASE_URL           another address than VRM's own
      VRM_REALTIME_URL       another broker than VRM's own, for --realtime
      VOLTSTORAGE_EMAIL, VOLTSTORAGE_PASSWORD
                             a VoltStorage login, or instead of it
      VOLTSTORAGE_TOKEN      a VoltStorage token
      VOLTSTORAGE_ACCOUNT    a name for that account; default: "default"
      VOLTSTORAGE_BASE_URL   another address than VoltStorage's own
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from energy_live.display.output import DisplayOptions  # noqa: PLC0415
    from energy_live.watch import Selection, watch_environment  # noqa: PLC0415

    options = DisplayOptions(
        readings=events, seconds=seconds, format=format, checkpoint=checkpoint, from_now=from_now
    )
    selection = Selection(sites=sites, products=products)
    return run(watch_environment(options, selection, interval_s=interval, realtime=realtime))


@commands.command()
@_speed_option(30.0)
@click.option(
    "--vrm-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port of the VRM server. Default: a free one.",
)
@click.option(
    "--voltstorage-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port of the VoltStorage server. Default: a free one.",
)
def simulate(*, speed: float, vrm_port: int, voltstorage_port: int) -> int:
    """Run only the simulated services, until Ctrl-C.

    Prints `export` lines with their addresses and credentials; paste them into another terminal and run
    `energy-live watch` or your own program there.
    """
    from energy_live.demo import run_simulator  # noqa: PLC0415

    return run(run_simulator(speed=speed, vrm_port=vrm_port, voltstorage_port=voltstorage_port))


@commands.command()
@click.option("--demo", is_flag=True, help="Serve a simulated household; needs no account and no network.")
@_speed_option(1.0)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="PORT",
    help="Port to listen on; 0: a free one.",
)
@click.option(
    "--home",
    "homes",
    multiple=True,
    metavar="NAME=SOURCES",
    help="A home of the page and what measures it, the preferred source first, such as "
    "'Haus=vrm/151734,voltstorage/301'; repeatable. Default: one home for each site and product.",
)
@select_sites
@click.option(
    "--interval",
    type=float,
    metavar="S",
    default=60.0,
    show_default=True,
    callback=_positive,
    help="Seconds between two polls of VRM.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the position in this file and resume from it. Default: start with new events.",
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Read the last 24 hours from this database of `energy-live run`.",
)
@click.option("--tls-cert", metavar="FILE", type=click.Path(dir_okay=False), help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", type=click.Path(dir_okay=False), help="Its private key, PEM.")
@click.option("--behind-proxy", is_flag=True, help="A reverse proxy with TLS is in front.")
@click.option("--public-url", metavar="URL", help="The address that browsers use, if it is another one.")
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    callback=_positive,
    help="Stop after this many seconds. Default: never.",
)
def serve(
    *,
    demo: bool,
    speed: float,
    host: str,
    port: int,
    homes: tuple[str, ...],
    sites: tuple[int, ...],
    products: tuple[int, ...],
    interval: float,
    checkpoint: str | None,
    store: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    behind_proxy: bool,
    public_url: str | None,
    seconds: float | None,
) -> int:
    """Serve the live page, and the merged stream to other programs.

    The page is at /, the stream at /events (WebSocket) and /events.sse, the present values at /state and the
    last 24 hours at /history. Other machines can reach it only with a token in ENERGY_LIVE_TOKEN, and over
    TLS or behind a reverse proxy. The accounts come from the environment, as for `watch`.
    """
    import os  # noqa: PLC0415

    from energy_core.secret import Secret  # noqa: PLC0415
    from energy_live.watch import Selection  # noqa: PLC0415
    from energy_live.web.access import ListenOptions  # noqa: PLC0415
    from energy_live.web.serve import TOKEN_VARIABLE, ServeOptions, serve_demo, serve_environment  # noqa: PLC0415

    token = os.environ.get(TOKEN_VARIABLE)
    listen = ListenOptions(
        host=host,
        port=port,
        token=Secret(token) if token else None,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        public_url=public_url,
    )
    options = ServeOptions(homes=homes, checkpoint=checkpoint, store=store, seconds=seconds)
    if demo:
        return run(serve_demo(listen, options, speed=speed))
    selection = Selection(sites=sites, products=products)
    return run(serve_environment(listen, options, selection, interval_s=interval))


def _parse_until(_: click.Context, option: click.Parameter, value: str | None) -> object:
    if value is None:
        return None
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"must be a date or a time such as 2026-10-31 or 2026-10-31T12:00, not {value}", param=option
        ) from None


@commands.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--format",
    type=click.Choice(("csv", "parquet")),
    help="File format. Default: parquet where pyarrow is installed (the extra 'arrow'), csv elsewhere.",
)
@click.option(
    "--product",
    "products",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="ID",
    help="Save only this product of VoltStorage; repeatable. Default: all products of the account.",
)
@click.option(
    "--site",
    "sites",
    type=SiteNumber(),
    multiple=True,
    metavar="ID",
    help="Save only this site of VRM (idSite); repeatable. Default: all sites of the account.",
)
@click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="CODE",
    help="Save the hourly means of this code of VRM too, such as bs; repeatable.",
)
@click.option(
    "--revise",
    "revise_days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="Read the last DAYS days of VRM again, for data that gateways delivered late.",
)
@click.option(
    "--until",
    metavar="TIME",
    callback=_parse_until,
    help="Save only data recorded before this date or time (UTC unless it has an offset). Default: now.",
)
@click.option("--check", is_flag=True, help="Only verify the files of an archive; needs no network.")
def archive(
    *,
    directory: str,
    format: str | None,  # noqa: A002
    products: tuple[int, ...],
    sites: tuple[int, ...],
    codes: tuple[str, ...],
    revise_days: int | None,
    until: object,
    check: bool,
) -> int:
    """Save all data of your VoltStorage and VRM accounts in DIR.

    Of VoltStorage: the list of products, the statistics of every timespan, and the full history of each
    product, one file a product and month. Of VRM: the list of sites, and the hourly energies of each site
    from its first day on, one file a site and year. A manifest has the checksums. You can stop it at any
    time; the next run continues where it stopped and reads the last day (of VRM: two days) again.

    \b
    Exit code 0: complete. 1: data is missing or damaged; the output lists it.
    The accounts come from the environment:
      VRM_TOKEN              a VRM access token
      VRM_BASE_URL           another address than VRM's own
      VOLTSTORAGE_EMAIL, VOLTSTORAGE_PASSWORD
                             a VoltStorage login, or instead of it
      VOLTSTORAGE_TOKEN      a VoltStorage token
      VOLTSTORAGE_BASE_URL   another address than VoltStorage's own
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from energy_live.archive.command import run_archive, run_check  # noqa: PLC0415

    if check:
        return run_check(directory)
    from energy_live.watch import Selection  # noqa: PLC0415

    return run_archive(
        directory,
        format=format,
        selection=Selection(sites=sites, products=products),
        codes=codes,
        until=until,
        revise_days=revise_days,
    )


for each in (*COMMANDS, run_service_command, cluster_commands):
    commands.add_command(each)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name and return its exit code."""
    try:
        return commands.main(arguments, prog_name="energy-live", standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help itself
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return print_error(f"{error.format_message().rstrip('.')}{hint}", error.exit_code)
