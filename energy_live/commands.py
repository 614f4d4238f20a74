"""What `energy-live` can do and with which options.

The work itself is imported when a command runs, so that help costs no more than it must.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import click

from energy_live.exits import INTERRUPTED

F = TypeVar("F", bound=Callable[..., object])

ACCELERATORS: Final = ("msgspec", "orjson", "uvloop")
"""Used where they are installed: the extra `speed`."""
FORMATS: Final = ("table", "jsonl")


class _SiteNumber(click.IntRange):
    """A site's number; of a portal id it says what to do."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if re.fullmatch(r"(?=.*[a-f])[0-9a-f]{12}", str(value).strip().lower()):
            self.fail(
                f"{value} is a VRM portal id; give the site's number, which is in the address of its page: "
                "vrm.victronenergy.com/installation/<number>",
                param,
                ctx,
            )
        number: int = super().convert(value, param, ctx)
        return number


def _positive(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"must be a number above 0, not {value}", param=option)
    return value


def _sensible(_: click.Context, option: click.Parameter, value: float) -> float:
    if not 0.01 <= value <= 3600:
        raise click.BadParameter(f"must be from 0.01 to 3600, not {value}", param=option)
    return value


def _showing(command: F) -> F:
    """Add the options of every command that shows a stream."""
    for add in (
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            help="How to show it. Default: table in a terminal, jsonl (one JSON object a line) elsewhere.",
        ),
        click.option(
            "--seconds",
            type=float,
            metavar="S",
            callback=_positive,
            help="Stop after so many seconds. Default: never.",
        ),
        click.option(
            "--events",
            type=click.IntRange(min=1),
            metavar="N",
            help="Stop after so many readings. Default: never.",
        ),
        click.option(
            "--checkpoint",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Keep in this file how far it came, and go on from there. Default: begin with what is new.",
        ),
        click.option(
            "--from-now",
            is_flag=True,
            help="Begin with what is new, whatever the file of --checkpoint holds, and replace it.",
        ),
    ):
        command = add(command)
    return command


def _speed(default: float) -> Callable[[F], F]:
    return click.option(
        "--speed",
        type=float,
        metavar="X",
        default=default,
        show_default=True,
        callback=_sensible,
        help="How many times faster than real time the simulated household lives.",
    )


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    try:
        said = f"energy-live {version('energy-live')}"
    except PackageNotFoundError:
        said = "energy-live, run from its source tree"
    found = [name for name in ACCELERATORS if find_spec(name)]
    click.echo(f"{said}, faster with {', '.join(found)}" if found else f"{said}, without accelerators")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Watch a home's energy: Victron VRM and VoltStorage in one live stream."""


@commands.command()
@_showing
@_speed(30.0)
def demo(
    *,
    events: int | None,
    seconds: float | None,
    format: str | None,  # noqa: A002
    checkpoint: str | None,
    from_now: bool,
    speed: float,
) -> int:
    """Show the merged stream of a simulated household.

    Starts a simulator of both services on this machine and connects the real clients to it. Needs no account
    and no network.
    """
    from energy_live.demo import demo as work  # noqa: PLC0415
    from energy_live.display.output import Wish  # noqa: PLC0415
    from energy_live.runner import run  # noqa: PLC0415

    wish = Wish(readings=events, seconds=seconds, format=format, checkpoint=checkpoint, from_now=from_now)
    return run(work(wish, speed=speed))


@commands.command()
@click.option(
    "--site",
    "sites",
    type=_SiteNumber(),
    multiple=True,
    metavar="ID",
    help="A VRM site by its number (idSite); repeatable.",
)
@click.option(
    "--product",
    "products",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="ID",
    help="A VoltStorage product; repeatable.",
)
@click.option(
    "--interval",
    type=float,
    metavar="S",
    default=60.0,
    show_default=True,
    callback=_positive,
    help="Seconds between two polls of VRM.",
)
@_showing
def watch(
    *,
    sites: tuple[int, ...],
    products: tuple[int, ...],
    interval: float,
    events: int | None,
    seconds: float | None,
    format: str | None,  # noqa: A002
    checkpoint: str | None,
    from_now: bool,
) -> int:
    """Show the merged stream of your own sites and products.

    Without --site and --product that is all your accounts have; with them, only what they name.

    \b
    Credentials come from the environment, never from the command line:
      VRM_TOKEN              a VRM access token
      VRM_ACCOUNT            a name for the account in events and checkpoints;
                             VRM's user id where it is not set
      VRM_BASE_URL           another address than VRM's own
      VOLTSTORAGE_EMAIL, VOLTSTORAGE_PASSWORD
                             a VoltStorage login, or instead of it
      VOLTSTORAGE_TOKEN      a VoltStorage token
      VOLTSTORAGE_ACCOUNT    a name for that account; "default" where it is not set
      VOLTSTORAGE_BASE_URL   another address than VoltStorage's own
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from energy_live.display.output import Wish  # noqa: PLC0415
    from energy_live.runner import run  # noqa: PLC0415
    from energy_live.watch import Choice  # noqa: PLC0415
    from energy_live.watch import watch as work  # noqa: PLC0415

    wish = Wish(readings=events, seconds=seconds, format=format, checkpoint=checkpoint, from_now=from_now)
    return run(work(wish, Choice(sites=sites, products=products), interval_s=interval))


@commands.command()
@_speed(30.0)
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

    Prints the lines that point clients (and `energy-live watch`) at them; paste them into another terminal.
    """
    from energy_live.demo import simulate as work  # noqa: PLC0415
    from energy_live.runner import run  # noqa: PLC0415

    return run(work(speed=speed, vrm_port=vrm_port, voltstorage_port=voltstorage_port))


def _moment(_: click.Context, option: click.Parameter, value: str | None) -> object:
    if value is None:
        return None
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"must be a day or moment such as 2026-10-31, not {value}", param=option
        ) from None


@commands.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--format",
    type=click.Choice(("csv", "parquet")),
    help="Of the files. Default: parquet where pyarrow is installed (the extra 'arrow'), csv elsewhere.",
)
@click.option(
    "--product",
    "products",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="ID",
    help="Only this product; repeatable. Default: all of the account's.",
)
@click.option(
    "--until",
    metavar="MOMENT",
    callback=_moment,
    help="Nothing from this day or moment on (UTC unless it says otherwise). Default: now.",
)
@click.option("--check", is_flag=True, help="Only verify what is there, without any network.")
def archive(
    *,
    directory: str,
    format: str | None,  # noqa: A002
    products: tuple[int, ...],
    until: object,
    check: bool,
) -> int:
    """Save everything a VoltStorage account can read into DIR.

    The list of products, statistics at every timespan, and the full history of each product: one file a
    product and month, and a manifest with checksums. Stop it at any moment and run it again: it goes on where
    it was, and reads the last day again.

    \b
    Exit code 0: complete. 1: something is missing or damaged, and the output says what and why.
    The account comes from the environment:
      VOLTSTORAGE_EMAIL, VOLTSTORAGE_PASSWORD
                             a VoltStorage login, or instead of it
      VOLTSTORAGE_TOKEN      a VoltStorage token
      VOLTSTORAGE_BASE_URL   another address than VoltStorage's own
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from energy_live.archive.command import save, verify  # noqa: PLC0415

    return verify(directory) if check else save(directory, format=format, products=products, until=until)


def energy_live(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name and return its exit code."""
    try:
        return commands.main(arguments, prog_name="energy-live", standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as unusable:
        unusable.show()
        return unusable.exit_code
