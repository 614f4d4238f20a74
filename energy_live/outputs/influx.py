"""Writes events as InfluxDB line protocol over HTTP: InfluxDB 1.8, 2 and 3, and VictoriaMetrics.

The forms are those of InfluxData's references "line protocol", "write data with the InfluxDB API" (1.8),
"/api/v2/write" and "/api/v3/write_lp". docs/how-to/influxdb-and-grafana.md has the layout of the data.
Tested: 1.x with InfluxDB 1.6, `/api/v2/write` with VictoriaMetrics 1.79; version 3 was not.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from attrs import frozen

from energy_core import SessionPool
from energy_core.codec.json import strict_json
from energy_core.errors import AuthError, DecodeError, EnergyError, RateLimited
from energy_core.home.days import micros
from energy_core.http.call import ServiceAccount
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Content, Operation, Priority, Query, Request, Response
from energy_core.http.refusal import refusal_message, refusal_message_of_text
from energy_core.http.token_bucket import RateLimit
from energy_core.printable import printable, printable_class
from energy_core.secret import Secret, fingerprint
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import AlarmChange, Dropped, Gap, Kind, SourceId, Status
from energy_core.url import BaseUrl, parse_base_url
from energy_live.outputs.output import OutputError, RefusedEvent

_SCHEME: Final = "influx+"
_UNLIMITED: Final = RateLimit(burst=1000, per_second=1000.0)
"""The database is the user's own; only its Retry-After limits us."""

_WRITE: Final = Operation(
    vendor="influx", name="write", method="POST", path="write", repeatable=True, priority=Priority.BACKGROUND
)
_MAX_BYTES: Final = 1024 * 1024
"""Of one request before compression. InfluxDB Cloud accepts 50 MB, 1.8 by default 25 MB."""

_REFUSED_ALL: Final = 16
"""If so many lines are refused and none was accepted since the output was opened, it is not the lines."""

_QUOTED: Final = 4096
"""Bytes of a refusal that are read for its message."""


@printable_class
@frozen(kw_only=True)
class InfluxConfig:
    """Where and how to write."""

    base: BaseUrl
    """Scheme, host, port and an optional path below which the API lies."""
    path: str
    """``write``, ``api/v2/write`` or ``api/v3/write_lp``."""
    query: Query
    """Database or bucket, and the precision of the timestamps."""
    authorization: Secret | None = None
    """The Authorization header; sent to the origin of `base` only."""
    measurement: str = "energy"
    """Name of the measurement of readings; those of other kinds begin with it."""

    @classmethod
    def from_url(
        cls, url: str, *, token: Secret | None = None, user: str = "", password: Secret | None = None
    ) -> InfluxConfig:
        """Read a URL such as ``influx+https://host:8086/?db=home``.

        Its query names the place: ``db=NAME`` (1.x and VictoriaMetrics, with ``rp=`` for a retention policy),
        ``org=NAME&bucket=NAME`` (2.x) or ``db=NAME&api=3`` (3.x); ``measurement=NAME`` replaces ``energy``.

        Args:
            url: The URL; it has no credential.
            token: The token of 2.x and 3.x.
            user: The user of 1.x.
            password: Its password.

        Raises:
            ValueError: The URL is anything else; the message does not repeat it.
        """
        address, _, query = url.removeprefix(_SCHEME).partition("?")
        base = parse_base_url(address, name="the InfluxDB address", without_tls=True)
        given = dict(parse_qsl(query, keep_blank_values=True))
        measurement = given.pop("measurement", "energy")
        api = given.pop("api", "2" if "bucket" in given else "1")
        place = _PLACES.get(api)
        if place is None or not given.keys() >= place.needs or not given.keys() <= place.needs | place.may:
            raise ValueError(
                "the InfluxDB address needs ?db=NAME (1.x; rp=NAME is optional), ?org=NAME&bucket=NAME (2.x) "
                "or ?db=NAME&api=3 (3.x), and accepts measurement=NAME beside them"
            )
        if not measurement or not all(given.values()):
            raise ValueError("the InfluxDB address has a name that is empty")
        return cls(
            base=base,
            path=place.path,
            query=(*given.items(), ("precision", place.microseconds)),
            authorization=_authorization(token, user, password, place.scheme),
            measurement=measurement,
        )


class _Place(NamedTuple):
    """How one version of the API names things."""

    path: str
    microseconds: str
    scheme: str
    needs: frozenset[str]
    may: frozenset[str] = frozenset()


_PLACES: Final[Mapping[str, _Place]] = {
    "1": _Place("write", "u", "Token", frozenset({"db"}), frozenset({"rp"})),
    "2": _Place("api/v2/write", "us", "Token", frozenset({"bucket"}), frozenset({"org"})),
    "3": _Place("api/v3/write_lp", "microsecond", "Bearer", frozenset({"db"})),
}


def _authorization(token: Secret | None, user: str, password: Secret | None, scheme: str) -> Secret | None:
    if token is not None:
        return Secret(f"{scheme} {token.reveal()}")
    if password is None:
        return None
    return Secret("Basic " + base64.b64encode(f"{user}:{password.reveal()}".encode()).decode())


class InfluxOutput:
    """Writes to InfluxDB or to a server that accepts its line protocol. Needs no extra.

    Writing a batch again overwrites the same points, so nothing is doubled. A line that the server refuses by
    itself is reported, and the rest of its batch is written.

    Args:
        config: Where to write.
        pool: Sends the requests; None: a pool of its own. An injected one is not closed.
    """

    idempotent = True

    def __init__(self, config: InfluxConfig, *, pool: SessionPool | None = None) -> None:
        self._config = config
        self._injected = pool
        self._pool = pool
        self._account: ServiceAccount | None = None
        self._operation = _WRITE.at(config.path)
        self._protocol = LineProtocol(config.measurement)
        self._accepted = False

    async def open(self) -> Checkpoint | None:
        """Send an empty write, which checks address, credential and database; return None.

        Raises:
            OutputError: The server does not answer, or refuses.
        """
        self._accepted = False
        pool = self._pool = self._pool or SessionPool()
        authorization = self._config.authorization
        headers = {} if authorization is None else {"Authorization": authorization}
        self._account = pool.account(
            self._config.base.origin,
            f"influx {id(self)}",
            _UNLIMITED,
            lambda: Credential(grant=Grant(token=authorization or Secret(""), headers=headers)),
            owner=fingerprint(authorization or ""),
        )
        self._check(await self._post([]), empty=True)
        return None

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> Sequence[RefusedEvent]:  # noqa: ARG002
        """Write a batch; returns when the server has confirmed it. Cancelling is safe: it may be written.

        Returns:
            The events whose line the server refused although it accepted others.

        Raises:
            OutputError: The server does not answer, or refuses everything.
        """
        line_of = self._protocol.line
        lines = [(event, line) for event in batch if (line := line_of(event)) is not None]
        refused: list[RefusedEvent] = []
        for chunk in _chunks(lines):
            await self._write(chunk, refused)
        if len(refused) >= _REFUSED_ALL and not self._accepted:
            raise OutputError(f"no line was accepted: {refused[0].reason}", permanent=True)
        return refused

    async def close(self) -> None:
        """Close the connection. Cancelling is safe."""
        if self._pool is not None and self._injected is None:
            pool, self._pool = self._pool, None
            await pool.aclose(grace_s=0.0)

    @printable
    def __repr__(self) -> str:
        return f"<InfluxOutput to {self._config.base}{self._config.path}>"

    async def _write(self, lines: Sequence[_Line], refused: list[RefusedEvent]) -> None:
        """Send lines together, and in halves if one of them is refused, until it is known which."""
        response = await self._post([line for _, line in lines])
        # 1.x answers 400, 2.x also 422, without saying which line it is; 413 is a request too long.
        if response.status not in {400, 413, 422}:
            self._check(response)
            self._accepted = True
        elif len(lines) > 1:
            middle = len(lines) // 2
            await self._write(lines[:middle], refused)
            await self._write(lines[middle:], refused)
        else:
            refused.append(RefusedEvent(lines[0][0], f"InfluxDB refused the line{self._words(response)}"))

    async def _post(self, lines: Sequence[str]) -> Response:
        if self._pool is None or self._account is None:
            raise OutputError("the output is not open")
        body = gzip.compress("".join(lines).encode(), compresslevel=1, mtime=0)
        request = Request(
            self._operation,
            self._operation.path,
            query=self._config.query,
            priority=Priority.BACKGROUND,
            content=Content(body, "text/plain; charset=utf-8", "gzip"),
        )
        try:
            return await self._pool.send(request, self._account, self._config.base)
        except AuthError as error:
            raise self._refused_login() from error
        except RateLimited as error:
            raise OutputError("InfluxDB limits our requests", retry_after=error.retry_after) from None
        except EnergyError as error:
            raise OutputError(f"InfluxDB: {error}") from None

    def _check(self, response: Response, *, empty: bool = False) -> None:
        """Raise the error of a response that is about the whole request.

        Raises:
            OutputError: With what to do, if only the user can help.
        """
        status = response.status
        if 200 <= status <= 299 or (empty and status == 400):  # some servers refuse a body without a line
            return
        if status in {401, 403}:
            raise self._refused_login()
        said = self._words(response)
        if status == 404:
            names = " ".join(f"{name}={value}" for name, value in self._config.query if name != "precision")
            raise OutputError(
                f"InfluxDB has no place {names}{said}: create it, or correct the address", permanent=True
            )
        permanent = 400 <= status <= 499 and status not in {408, 425, 429}
        raise OutputError(f"InfluxDB answered with status {status}{said}", permanent=permanent)

    def _words(self, response: Response) -> str:
        if self._account is None:
            return ""
        body = self._account.credential.mask(response.body[:_QUOTED].decode(errors="replace")).encode()
        try:
            words = refusal_message(strict_json(body, content_type=response.content_type))
        except DecodeError:
            words = refusal_message_of_text(body, response.content_type)
        return f" ({words})" if words else ""

    def _refused_login(self) -> OutputError:
        if self._config.authorization is None:
            return OutputError(
                "InfluxDB asks for a credential: set INFLUX_TOKEN, and for a password also the user",
                permanent=True,
            )
        return OutputError(
            "InfluxDB refused the credential: check INFLUX_TOKEN, the user, and that it may write there",
            permanent=True,
        )


_LONGEST_ORDINAL: Final = 3
"""Digits; a longer number at the end of an id is a time."""

_Line: TypeAlias = tuple[Event, str]


def _chunks(lines: Sequence[_Line]) -> Iterator[Sequence[_Line]]:
    """Cut a batch into requests of at most a MiB."""
    start = size = 0
    for place, (_, line) in enumerate(lines):
        if size + len(line) > _MAX_BYTES and place > start:
            yield lines[start:place]
            start, size = place, 0
        size += len(line)
    if start < len(lines):
        yield lines[start:]


# --- line protocol ------------------------------------------------------------------------------------------


class LineProtocol:
    """Makes lines of events.

    Args:
        measurement: The measurement of readings; ``_gap``, ``_alarm``, ``_status`` or ``_dropped`` is
            appended for other kinds.
    """

    def __init__(self, measurement: str = "energy") -> None:
        self._measurement = measurement
        self._series: dict[SourceId, str] = {}
        """Measurement and tags of each source's readings: escaping them takes longer than the rest."""

    def line(self, event: Event) -> str | None:
        """Return the line of an event, with a line feed; None for a reading without a value.

        A gap is at its start, everything else at its time.
        """
        if event.kind is not Kind.READING:
            return self._other(event)
        if not event.values:
            return None
        source = event.source
        series = self._series.get(source)
        if series is None:
            series = self._series[source] = _series(source, self._measurement, {})
        fields = ",".join([f"{name}={float(value)!r}" for name, value in event.values.items()])
        return f"{series} {fields} {_reading_micros(event)}\n"

    def _other(self, event: Event) -> str:
        time, tags = micros(event.time), {}
        match event.detail:
            case Gap() as gap:
                time, tags = micros(gap.start), {"reason": gap.reason, "quantities": " ".join(gap.quantities)}
                seconds = (gap.end - gap.start).total_seconds()
                fields = f"seconds={seconds!r},until={text_field(gap.end.isoformat())}"
            case AlarmChange() as alarm:
                tags = {"alarm": alarm.alarm, "device": alarm.device}
                fields = f"active={str(alarm.active).lower()},text={text_field(alarm.text)}"
            case Dropped() as dropped:
                fields = f"count={dropped.count}.0"
            case Status() as status:
                fields = f"state={text_field(status.state)},reason={text_field(status.reason)}"
            case _:  # pragma: no cover  (every other kind has a detail)
                fields = 'state=""'
        return f"{_series(event.source, f'{self._measurement}_{event.kind}', tags)} {fields} {time}\n"


def _series(source: SourceId, measurement: str, more: Mapping[str, str]) -> str:
    """Return measurement and tags. An empty value cannot be written: its tag is left out."""
    tags = {"vendor": source.vendor, "site": source.site, "instance": str(source.instance), **more}
    written = [f",{key}={tag_value(value)}" for key, value in tags.items() if value]
    return measurement.translate(_NAME_ESCAPES) + "".join(written)


def _reading_micros(event: Event) -> int:
    """Return the timestamp of a reading.

    Two readings of a source at the same time would overwrite each other. Their ids end with different
    ordinals; each counts as a microsecond.
    """
    ordinal = event.id.rpartition("/")[2]
    if len(ordinal) > _LONGEST_ORDINAL or not (ordinal.isascii() and ordinal.isdigit()):
        return micros(event.time)
    return micros(event.time) + int(ordinal)


_TAG_ESCAPES: Final = str.maketrans(
    {
        # Not writable at all, or not at the end of a value: percent-encoded, and the percent sign with them.
        **{chr(code): f"%{code:02X}" for code in (*range(0x20), 0x7F, ord("\\"), ord("%"))},
        ",": "\\,",
        "=": "\\=",
        " ": "\\ ",
    }
)
_NAME_ESCAPES: Final = {
    **_TAG_ESCAPES,
    ord("="): "=",
    ord("#"): "%23",
}  # a line that begins with # is a comment
_TEXT_ESCAPES: Final = str.maketrans(
    {**{chr(code): " " for code in (*range(0x20), 0x7F)}, '"': '\\"', "\\": "\\\\"}
)


def tag_value(text: str) -> str:
    """Return a tag value in line protocol.

    Line protocol cannot hold a line break in it, nor a backslash at its end. Control characters, backslashes
    and percent signs are percent-encoded; `urllib.parse.unquote` of what the database returns gives `text`.
    """
    return text.translate(_TAG_ESCAPES)


def text_field(text: str) -> str:
    """Return a text field in line protocol; control characters become spaces.

    VictoriaMetrics ends a line at a line break even inside quotes.
    """
    return f'"{text.translate(_TEXT_ESCAPES)}"'
