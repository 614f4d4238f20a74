"""Makes outputs of their addresses, such as `sqlite:PATH`. Each is imported when it is used.

A further output is one function here and one line in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl

from attrs import frozen

from energy_live.outputs.output import Output
from energy_live.runner import UsageError
from energy_live.service.config import OutputSettings, parse_listen
from energy_live.service.secret_files import SecretEnvironment

if TYPE_CHECKING:
    from energy_core import SessionPool
    from energy_live.display.output import SiteName
    from energy_live.outputs.prometheus import Health


@frozen(kw_only=True)
class TargetContext:
    """What an output may need of the service."""

    environment: SecretEnvironment
    """Has the secrets."""
    folder: Path
    """The folder of the service: relative paths are in it."""
    pool: SessionPool
    """For outputs that send HTTP requests."""
    sites: Mapping[tuple[str, str], SiteName]
    """Names and time zones of sites and products by vendor and number, once the accounts were read."""
    site_names: Mapping[tuple[str, str], str]
    """The names alone."""
    current: Callable[[], AbstractSet[tuple[str, str]] | None] = lambda: None
    """Returns the sites and products that are read now, None while they are not known."""
    health: Callable[[], Health] | None = None
    """Returns the states of sources and outputs, and the present time."""


Target: TypeAlias = Callable[[OutputSettings, TargetContext], Output]


def _sqlite(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.sqlite import SqliteOutput  # noqa: PLC0415
    from energy_live.outputs.sqlite_tables import Retention  # noqa: PLC0415

    path, _, query = settings.to.partition(":")[2].partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    days = ("raw_days", "minute_days", "hour_days", "event_days")
    for name, value in options.items():
        if name not in days or not value.isascii() or not value.isdigit():
            raise UsageError(
                f"the address of SQLite accepts {', '.join(days)} with whole numbers, not {name}={value}"
            )
    if not path:
        raise UsageError("the address of SQLite needs a file: sqlite:PATH")
    retention = Retention(**{name: int(value) for name, value in options.items()})
    return SqliteOutput(context.folder / Path(path).expanduser(), retention=retention, name=settings.name)


def _postgresql(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.postgres import PostgresOutput  # noqa: PLC0415

    password = context.environment.secret(settings.secret or "PGPASSWORD")
    return PostgresOutput(settings.to, password=password, name=settings.name)


def _influx(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.influx import InfluxConfig, InfluxOutput  # noqa: PLC0415

    secret = context.environment.secret(settings.secret or "INFLUX_TOKEN")
    if settings.user:
        config = InfluxConfig.from_url(settings.to, user=settings.user, password=secret)
    else:
        config = InfluxConfig.from_url(settings.to, token=secret)
    return InfluxOutput(config, pool=context.pool)


def _mqtt(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.mqtt import MqttOutput  # noqa: PLC0415

    password = context.environment.secret(settings.secret or "MQTT_PASSWORD")
    chosen = set(map(str, settings.sites))

    def sites() -> AbstractSet[tuple[str, str]] | None:
        current = context.current()
        return current if current is None or not chosen else {each for each in current if each[1] in chosen}

    return MqttOutput(settings.to, password=password, names=context.site_names, sites=sites)


def _parquet(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.parquet import ParquetOutput  # noqa: PLC0415

    path = settings.to.partition(":")[2]
    if not path:
        raise UsageError("the address of Parquet files needs a folder: parquet:FOLDER")
    return ParquetOutput(context.folder / Path(path).expanduser())


def _prometheus(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.outputs.prometheus import PrometheusOutput  # noqa: PLC0415

    host, port = parse_listen(settings.to.partition(":")[2], "the address of Prometheus")
    return PrometheusOutput(host, port, health=context.health, names=context.site_names)


def _web(settings: OutputSettings, context: TargetContext) -> Output:
    from energy_live.web.access import ListenOptions  # noqa: PLC0415
    from energy_live.web.output import WebOutput  # noqa: PLC0415
    from energy_live.web.serve import parse_home  # noqa: PLC0415

    address, _, query = settings.to.partition(":")[2].partition("?")
    host, port = parse_listen(address, "the address of the page")
    given = parse_qsl(query, keep_blank_values=True)
    options = dict(given)
    known = {"tls_cert", "tls_key", "public_url", "behind_proxy", "home", "store"}
    if unknown := sorted(options.keys() - known):
        raise UsageError(f"the address of the page accepts {', '.join(sorted(known))}, not {unknown[0]}")
    listen = ListenOptions(
        host=host,
        port=port,
        token=context.environment.secret(settings.secret or "ENERGY_LIVE_TOKEN"),
        tls_cert=options.get("tls_cert"),
        tls_key=options.get("tls_key"),
        behind_proxy=options.get("behind_proxy", "false") in {"true", "1", "yes"},
        public_url=options.get("public_url"),
    )
    return WebOutput(
        listen,
        lambda: context.sites,
        homes=[parse_home(value) for name, value in given if name == "home"],
        store=context.folder / Path(options.get("store", "energy.sqlite")).expanduser(),
    )


TARGETS: Final[Mapping[str, Target]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "influx+http": _influx,
    "influx+https": _influx,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
    "parquet": _parquet,
    "prometheus": _prometheus,
    "web": _web,
}
"""By the word before the colon."""


def make_output(settings: OutputSettings, context: TargetContext) -> Output:
    """Return the output of an address; nothing is connected yet.

    Raises:
        UsageError: The address is wrong; the message says what, and names the output.
    """
    target = TARGETS.get(settings.scheme)
    if target is None:
        known = ", ".join(f"{each}:" for each in TARGETS)
        raise UsageError(f"output {settings.name}: {settings.scheme}: is no known output; there are {known}")
    try:
        return target(settings, context)
    except (ValueError, UsageError) as error:
        raise UsageError(f"output {settings.name}: {error}") from None
