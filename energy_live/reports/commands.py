"""The commands that print one table, with their options.

Each command imports what it needs when it runs, so that `--help` stays below 150 ms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])

FORMATS: Final = ("table", "json", "csv")
INTERVALS: Final = ("15mins", "hours", "2hours", "days", "weeks", "months", "years")
"""The intervals of `vrm_async.stats.history`."""
SHELLS: Final = ("bash", "zsh", "fish")
_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks", "m": "months", "y": "years"}


class SiteNumber(click.IntRange):
    """A site's number; the error for a portal id explains where to find the number."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if re.fullmatch(r"(?=.*[a-f])[0-9a-f]{12}", str(value).strip().lower()):
            self.fail(
                f"{value} is a VRM portal id; give the site's number, which is in the address of its page: "
                "vrm.victronenergy.com/installation/<number>",
                param,
                ctx,
            )
        number: int = super().convert(value, param, ctx)
        return number


def select_sites(command: F) -> F:
    """Add the options that select sites and products."""
    for add in (
        click.option(
            "--product",
            "products",
            type=click.IntRange(min=0),
            multiple=True,
            metavar="ID",
            help="Number of a VoltStorage product; repeatable.",
        ),
        click.option(
            "--site",
            "sites",
            type=SiteNumber(),
            multiple=True,
            metavar="ID",
            help="Number of a VRM site (idSite); repeatable.",
        ),
    ):
        command = add(command)
    return command


_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Output format. json is an array with one object a row; csv has a header line.",
)


def _parse_last(_: click.Context, option: click.Parameter, value: str | None) -> tuple[int, str] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4}) ?([hdwmy])", value.strip().lower())
    if found is None:
        raise click.BadParameter(
            "must be a number and h, d, w, m or y (hours, days, weeks, months or years), such as 30d, "
            f"not {value}",
            param=option,
        )
    return int(found[1]), _UNITS[found[2]]


@click.command()
@_format_option
def sites(*, form: str) -> int:
    """List the sites and products of your accounts.

    A row for each has its state, the age of its newest data, its battery's charge, its powers and the number
    of its active alarms. A state is `live`, `stale` (no data for 15 minutes), `offline` (as the service says)
    or `no data`. Battery power is positive while charging, grid power while importing.
    """
    from energy_live.reports.output import run_report  # noqa: PLC0415
    from energy_live.reports.sites import list_sites  # noqa: PLC0415

    return run_report(list_sites(), form)


@click.command()
@select_sites
@_format_option
def now(*, sites: tuple[int, ...], products: tuple[int, ...], form: str) -> int:
    """Show every present value of your sites and products.

    A row for each quantity has its value, unit, device, time and age. A value that was not measured has no
    row. One request reads all sites, and one each product.
    """
    from energy_live.reports.output import run_report  # noqa: PLC0415
    from energy_live.reports.sites import list_values  # noqa: PLC0415
    from energy_live.watch import Selection  # noqa: PLC0415

    return run_report(list_values(Selection(sites=sites, products=products)), form)


@click.command()
@select_sites
@click.option(
    "--last",
    metavar="RANGE",
    callback=_parse_last,
    help="All alarms that were raised in this range, such as 7d, also those that have ended. VRM only.",
)
@_format_option
def alarms(
    *, sites: tuple[int, ...], products: tuple[int, ...], last: tuple[int, str] | None, form: str
) -> int:
    """Show the active alarms of your sites and products.

    A site whose alarms the account may not read is named on stderr; the exit code is 1 then.
    """
    from energy_live.reports.alarms import list_alarms  # noqa: PLC0415
    from energy_live.reports.output import run_report  # noqa: PLC0415
    from energy_live.watch import Selection  # noqa: PLC0415

    return run_report(list_alarms(Selection(sites=sites, products=products), last), form)


@click.command()
@click.argument("site", type=SiteNumber(), metavar="SITE")
@click.option(
    "--last",
    metavar="RANGE",
    callback=_parse_last,
    help="A range that ends now: a number and h, d, w, m or y, such as 30d. Default: 30d.",
)
@click.option("--period", metavar="DAY", help="A year, month or day instead: 2026, 2026-05 or 2026-05-17.")
@click.option("--start", metavar="TIME", help="The beginning of the range instead: 2026-10-31T12:00.")
@click.option("--end", metavar="TIME", help="The end of the range, with --start. Default: now.")
@click.option(
    "--interval",
    type=click.Choice(INTERVALS),
    default="days",
    show_default=True,
    help="The time that one row covers.",
)
@click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="CODE",
    help="A measurement such as bs (state of charge) instead of energies; repeatable.",
)
@click.option(
    "--local",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="What `energy-live run` has stored, of a site or product, by quantity (--code pv_power). "
    "Default file: energy.sqlite in ~/.local/state/energy-live.",
)
@click.option(
    "--out",
    type=click.Path(),
    metavar="FILE",
    help="Save a file instead: FILE.csv, FILE.parquet or FILE.png (a chart).",
)
@_format_option
def history(
    *,
    site: int,
    last: tuple[int, str] | None,
    period: str | None,
    start: str | None,
    end: str | None,
    interval: str,
    codes: tuple[str, ...],
    local: str | None,
    out: str | None,
    form: str,
) -> int:
    """Show the energies of a VRM site, or other measurements with --code.

    Days, weeks, months and years begin at the site's midnight; times without an offset are local there.
    Recent values may still change, because devices deliver late.
    """
    from energy_live.reports.history import HistoryOptions, show_history  # noqa: PLC0415
    from energy_live.reports.output import run_report  # noqa: PLC0415

    if last is None and period is None and start is None and end is None:
        last = (30, "days")
    options = HistoryOptions(
        site=site,
        interval=interval,
        codes=codes,
        last=last,
        period=period,
        start=start,
        end=end,
        out=out,
    )
    if local is not None:
        from energy_live.reports.local_history import show_local_history  # noqa: PLC0415

        return run_report(show_local_history(options, local), form)
    return run_report(show_history(options), form)


@click.command()
@_format_option
def doctor(*, form: str) -> int:
    """Check what is configured, reachable and allowed.

    Checks versions, credentials, both services, the expiry of tokens (a warning in the last 14 days), this
    machine's clock, and the rate limits. Prints no secret. Exit code 1: a check has failed.
    """
    from energy_live.reports.doctor import examine  # noqa: PLC0415
    from energy_live.reports.output import run_report  # noqa: PLC0415

    return run_report(examine(), form)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> int:
    """Print a script that completes commands and options.

    \b
    bash:  eval "$(energy-live completion bash)"           in ~/.bashrc
    zsh:   eval "$(energy-live completion zsh)"            in ~/.zshrc
    fish:  energy-live completion fish > ~/.config/fish/completions/energy-live.fish
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  (click knows these shells)
    click.echo(kind(context.find_root().command, {}, "energy-live", "_ENERGY_LIVE_COMPLETE").source())
    return 0


COMMANDS: Final = (sites, now, alarms, history, doctor, completion)
