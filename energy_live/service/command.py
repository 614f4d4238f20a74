"""The command `run` and its options.

It imports what it needs when it runs, so that `--help` stays below 150 ms.
"""

from __future__ import annotations

import click

from energy_live.reports.commands import select_sites


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Settings in TOML; options come on top. SIGHUP reads it again.",
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="ADDRESS",
    help="An output, such as sqlite:FILE or postgresql://USER@HOST/DATABASE; repeatable. Without a password. "
    "Default: sqlite:energy.sqlite in the folder of --state.",
)
@click.option(
    "--prometheus", metavar="HOST:PORT", help="Serves metrics; short for --to prometheus:HOST:PORT."
)
@click.option("--web", metavar="HOST:PORT", help="Serves the live page; short for --to web:HOST:PORT.")
@select_sites
@click.option("--interval", type=float, metavar="S", help="Seconds between two polls of VRM. Default: 60.")
@click.option(
    "--since", metavar="SPAN", help="Load so much of the past into an output that is empty, such as 30d."
)
@click.option(
    "--cluster",
    metavar="URL",
    help="NATS servers, such as nats://10.0.0.5:4222: share the accounts with other hosts, publish into one "
    "log, and feed the outputs from it.",
)
@click.option("--state", metavar="DIR", help="Folder of positions and of the default database.")
@click.option(
    "--health",
    metavar="HOST:PORT",
    help="Address of /healthz and /status; '' for none. Default: 127.0.0.1:9180.",
)
@click.option("--log-format", type=click.Choice(("text", "json")), help="Log lines. Default: text.")
@click.option("--check-config", is_flag=True, help="Only check settings, secrets and addresses.")
@click.option("--demo", is_flag=True, help="Run on a simulated household; needs no account and no network.")
def run(
    *,
    file: str | None,
    targets: tuple[str, ...],
    prometheus: str | None,
    web: str | None,
    sites: tuple[int, ...],
    products: tuple[int, ...],
    interval: float | None,
    since: str | None,
    cluster: str | None,
    state: str | None,
    health: str | None,
    log_format: str | None,
    check_config: bool,
    demo: bool,
) -> int:
    """Feed outputs with everything your accounts deliver, until SIGTERM or Ctrl-C.

    Each output continues where it stopped, and holds up no other one. Secrets come from the environment or
    from files, never from the command line; docs/reference/config.md has their names and all settings.

    \b
    SIGHUP   reads settings and secrets again without losing an event
    SIGTERM  writes what is pending and ends, within 15 seconds
    """  # noqa: D301  (\b is click's mark for text that must not be re-wrapped)
    from energy_live.service.start import Options, start  # noqa: PLC0415

    options = Options(
        file=file,
        targets=(
            *targets,
            *([f"prometheus:{prometheus}"] if prometheus else []),
            *([f"web:{web}"] if web else []),
        ),
        sites=sites,
        products=products,
        interval=interval,
        since=since,
        cluster=cluster,
        state=state,
        health=health,
        log_format=log_format,
    )
    return start(options, check_only=check_config, demo=demo)
