"""The settings of `energy-live run`: from a TOML file, with the options of the command line on top.

docs/reference/config.md lists them; a test compares that page with these classes.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from attrs import NOTHING, Attribute, evolve, field, fields, frozen

from energy_core.stream.vocabulary import account_label
from energy_live.outputs.choice import OutputChoice
from energy_live.runner import UsageError

T = TypeVar("T")

_SPAN: Final = re.compile(r"([1-9][0-9]{0,4}) ?([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}
_LONGEST: Final = timedelta(days=366)


@frozen(kw_only=True)
class VrmSettings:
    """The sites of the VRM account; the table `vrm`."""

    sites: tuple[int, ...] = ()
    """Only these sites, by their number (idSite); empty: all."""
    interval_s: float = 60.0
    """Seconds between two polls; devices log once a minute at most."""
    realtime: bool = False
    """Whether to receive values every second over MQTT, where sites offer it; with the extra `mqtt`."""
    enabled: bool = True
    """Whether the account is read at all."""


@frozen(kw_only=True)
class VoltStorageSettings:
    """The products of the VoltStorage account; the table `voltstorage`."""

    products: tuple[int, ...] = ()
    """Only these products, by their number; empty: all, also those added later."""
    enabled: bool = True
    """Whether the account is read at all."""


@frozen(kw_only=True)
class AccountSettings:
    """One account that the hosts of a cluster share; an entry of the array `account`."""

    name: str
    """Names it in events and leases; the same on all hosts, and never changed."""
    vendor: str = "vrm"
    """`vrm` or `voltstorage`."""
    secret: str = ""
    """The secret with its token, or with the password of `user`. Default: `VRM_TOKEN`, or
    `VOLTSTORAGE_PASSWORD`."""
    user: str = ""
    """The e-mail address of a VoltStorage login; empty: the secret is a token."""
    sites: tuple[int, ...] = ()
    """Only these sites or products, by their number; empty: all."""
    interval_s: float = 60.0
    """Seconds between two polls of VRM."""
    base_url: str = ""
    """Another address than the vendor's own."""


@frozen(kw_only=True)
class ClusterSettings:
    """The cluster that this host belongs to; the table `cluster`."""

    url: str = ""
    """The NATS servers, such as `nats://10.0.0.5:4222`, with commas between them; empty: no cluster."""
    host: str = ""
    """Names this host; each has its own. Default: the name of the machine."""
    collect: bool = True
    """Whether this host polls accounts; otherwise it only feeds outputs from the log."""
    cap: int = 1000
    """Accounts that this host polls at most."""
    stream: str = "ENERGY"
    """The log."""
    max_age_days: float = 30.0
    """Days until an event leaves the log, where it is created."""
    max_bytes: int = -1
    """Bytes of the log, where it is created; -1: no limit."""


@frozen(kw_only=True)
class OutputSettings:
    """One output; an entry of the array `output`."""

    to: str
    """Where: `sqlite:PATH`, `postgresql://...` and so on; without a password."""
    name: str = ""
    """Names it in the log, in `/status` and in the file of its position. Default: the word before the colon
    or plus, with a number if it is there more than once."""
    every: float = 0.0
    """Of each quantity of a device, only the first reading of every interval of so many seconds; 0: all."""
    quantities: tuple[str, ...] = ()
    """Only these quantities; empty: all."""
    sites: tuple[int, ...] = ()
    """Only these sites and products, by their number; empty: all."""
    buffer: int = 8192
    """Readings that may wait while it is down; later ones are fetched again, or reported as gaps."""
    user: str = ""
    """The user, where the address has none."""
    secret: str = ""
    """The variable, or the file of a secret, that has its password or token. Default: `PGPASSWORD`,
    `MQTT_PASSWORD` or `INFLUX_TOKEN`."""

    @property
    def scheme(self) -> str:
        """The word before the first colon."""
        return self.to.partition(":")[0].lower()

    @property
    def choice(self) -> OutputChoice:
        """Which events it gets.

        Raises:
            ValueError: A quantity is unknown, or `every` is not a number of seconds.
        """
        return OutputChoice(every=self.every, quantities=self.quantities, sites=self.sites)


@frozen(kw_only=True)
class ServiceConfig:
    """All settings of the service."""

    state: str = ""
    """Folder of positions and of the default database. Default: systemd's `StateDirectory`, else
    `~/.local/state/energy-live`."""
    since: str = ""
    """Loads so much of the past into an output that is empty: `12h`, `30d`, `4w`. Default: nothing."""
    health: str = "127.0.0.1:9180"
    """Address of `/healthz` and `/status`; empty: none."""
    log_format: str = "text"
    """`text` or `json`, one line each."""
    log_level: str = "warning"
    """`debug`, `info`, `warning` or `error`."""
    vrm: VrmSettings = field(factory=VrmSettings)
    voltstorage: VoltStorageSettings = field(factory=VoltStorageSettings)
    cluster: ClusterSettings = field(factory=ClusterSettings)
    account: tuple[AccountSettings, ...] = ()
    """The accounts of a cluster. Default: those of the environment, with the names that it gives them."""
    output: tuple[OutputSettings, ...] = ()
    """The outputs. Default: `sqlite:energy.sqlite` in the folder `state`."""

    @property
    def since_span(self) -> timedelta | None:
        """The past to load into an empty output.

        Raises:
            UsageError: It is not a span such as 30d.
        """
        if not self.since:
            return None
        found = _SPAN.fullmatch(self.since.strip().lower())
        span = timedelta(hours=int(found[1]) * _HOURS[found[2]]) if found else None
        if span is None or span > _LONGEST:
            raise UsageError(
                f"since must be a number and h, d or w, up to 366d, such as 30d, not {self.since}"
            )
        return span


def load_config(path: Path) -> ServiceConfig:
    """Read a TOML file.

    Raises:
        UsageError: It cannot be read, or something in it is wrong; the message says what and where.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read, {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a text in UTF-8") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    return complete(_read(ServiceConfig, table, str(path)), str(path))


def complete(config: ServiceConfig, where: str) -> ServiceConfig:
    """Return the settings with a name for each output, after checking what single values do not show.

    Raises:
        UsageError: A value is out of range, an address holds a password, or two outputs have one name.
    """
    if config.log_format not in ("text", "json"):
        raise UsageError(f"{where}: log_format must be text or json, not {config.log_format}")
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise UsageError(f"{where}: log_level must be debug, info, warning or error, not {config.log_level}")
    if not 0 < config.vrm.interval_s < float("inf"):
        raise UsageError(f"{where}: interval_s must be above 0, not {config.vrm.interval_s:g}")
    config.since_span  # noqa: B018  (it checks itself)
    if config.health:
        parse_listen(config.health, f"{where}: health")
    _check_cluster(config, where)
    outputs: list[OutputSettings] = []
    for number, each in enumerate(config.output, 1):
        place = f"{where}: output {number}"
        check_no_password(each.to, place)
        try:
            each.choice  # noqa: B018
        except ValueError as error:
            raise UsageError(f"{place}: {error}") from None
        if each.buffer < 1:
            raise UsageError(f"{place}: buffer must be at least 1, not {each.buffer}")
        taken = {"energies", *(output.name for output in outputs)}
        if each.name in taken:
            raise UsageError(f"{place}: another output has the name {each.name!r} already")
        if each.name and not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", each.name):
            raise UsageError(
                f"{place}: a name has letters, digits, dots, dashes and underscores, not {each.name}"
            )
        word = each.scheme.partition("+")[0]
        numbered = (f"{word}-{count}" for count in range(2, len(config.output) + 2))
        name = each.name or next(each for each in (word, *numbered) if each not in taken)
        outputs.append(evolve(each, name=name))
    return evolve(config, output=tuple(outputs))


def _check_cluster(config: ServiceConfig, where: str) -> None:
    """Check what a cluster needs: names that differ, and a server without a password in its address.

    Raises:
        UsageError: Something is wrong.
    """
    cluster, names = config.cluster, [(each.vendor, each.name) for each in config.account]
    if config.account and not cluster.url:
        raise UsageError(f"{where}: the array account is for a cluster: set url in the table cluster")
    for server in cluster.url.split(",") if cluster.url else ():
        check_no_password(server.strip(), f"{where}: cluster: url")
    if cluster.cap < 0:
        raise UsageError(f"{where}: cluster: cap must not be negative, as {cluster.cap} is")
    for vendor, name in names:
        place = f"{where}: account {name!r}"
        if vendor not in ("vrm", "voltstorage"):
            raise UsageError(f"{place}: vendor must be vrm or voltstorage, not {vendor}")
        if names.count((vendor, name)) > 1:
            raise UsageError(f"{place}: there are two of this name")
        try:
            account_label(name)
        except ValueError as error:
            raise UsageError(f"{place}: {error}") from None


def check_no_password(address: str, where: str) -> None:
    """Refuse an address with a password: it would be in the list of processes, or in a file that is shared.

    Raises:
        UsageError: It has one; the message does not repeat it.
    """
    try:
        secret = urlsplit(address).password
    except ValueError:
        secret = None
    if secret is not None or re.search(r"[?&](password|token|secret)=", address):
        scheme = address.partition(":")[0]
        raise UsageError(
            f"{where}: the address {scheme}:... holds a password, which others could read; put it "
            "into an environment variable or a file (docs/reference/config.md, Secrets)"
        )


def parse_listen(address: str, where: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``:PORT``, which means this machine only.

    Raises:
        UsageError: It is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{where} must be HOST:PORT or :PORT, such as :8080, not {address}")
    return host.strip("[]") or "127.0.0.1", int(port)


# --- reading tables ----------------------------------------------------------------------------------------


def _read(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make an object of a table of TOML.

    Raises:
        UsageError: A key is unknown or missing, or a value has another type.
    """
    hints = typing.get_type_hints(kind)
    known: dict[str, Attribute[Any]] = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{_hint(key, known)}")
    for name in ("to", "name"):
        if name in known and name not in table and known[name].default is NOTHING:
            raise UsageError(f"{where}: the key {name!r} is missing")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()})


def _hint(key: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; it may be {', '.join(known)}"


def _value(hint: type[object], value: object, where: str) -> object:
    """Return a value of TOML as the type of its field."""
    if isinstance(hint, types.GenericAlias):  # tuple[X, ...]
        inner = hint.__args__[0]
        if not isinstance(value, list):
            raise UsageError(f"{where} must be a list, not {value!r}")
        return tuple(_value(inner, each, f"{where} {number}") for number, each in enumerate(value, 1))
    if hasattr(hint, "__attrs_attrs__"):
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table, not {value!r}")
        return _read(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        words = {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
        raise UsageError(f"{where} must be {words[hint]}, not {value!r}")
    return value
