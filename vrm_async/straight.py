"""The shapes of VRM's largest answers, for msgspec; without it nothing here is used.

Each function returns what an answer holds when it is exactly as documented, and None or one of msgspec's
errors for anything else, which is then read the tolerant way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

from energy_core.http.bounded import bounded_parser
from energy_core.http.decode import is_sound
from energy_core.http.request import JSON
from vrm_async.points import LAST_MS, MILLISECONDS_FROM, Columns

if TYPE_CHECKING:
    import msgspec
else:
    try:
        import msgspec
    except ImportError:
        msgspec = None


class StatsParts(NamedTuple):
    """What an answer of stats holds that is not split by instance."""

    series: Mapping[str, Columns]
    totals: Mapping[str, object]


if msgspec is not None:
    Number: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | None
    Time: TypeAlias = Annotated[int, msgspec.Meta(ge=MILLISECONDS_FROM, le=LAST_MS)]

    class _Pair(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
        time: Time
        mean: Number

    class _Three(_Pair, array_like=True, gc=False, forbid_unknown_fields=True):
        minimum: Number

    class _Four(_Three, array_like=True, gc=False, forbid_unknown_fields=True):
        maximum: Number

    class _Narrow(msgspec.Struct, forbid_unknown_fields=True):
        success: bool
        records: dict[str, list[_Pair] | bool | None]
        totals: dict[str, Number | bool] = msgspec.field(default_factory=dict)

    class _Stats(msgspec.Struct, forbid_unknown_fields=True):
        success: bool
        records: dict[str, msgspec.Raw]
        totals: dict[str, Number | bool] = msgspec.field(default_factory=dict)

    class _Sites(msgspec.Struct, forbid_unknown_fields=True):
        success: bool
        records: list[dict[str, msgspec.Raw]]

    _narrow = msgspec.json.Decoder(_Narrow).decode
    _stats = msgspec.json.Decoder(_Stats).decode
    _sites = msgspec.json.Decoder(_Sites).decode
    _pairs = msgspec.json.Decoder(list[_Pair] | bool | None).decode
    _threes = msgspec.json.Decoder(list[_Three]).decode
    _fours = msgspec.json.Decoder(list[_Four]).decode


def stats(body: bytes) -> StatsParts | None:
    """Read stats whose points are all numbers, in milliseconds."""
    found: _Narrow | _Stats
    series: dict[str, Columns | None]
    try:
        found = narrow = _narrow(body)
        series = {code: _columns(points) for code, points in narrow.records.items()}
    except msgspec.ValidationError:
        found = wide = _stats(body)
        series = {code: _any_columns(text) for code, text in wide.records.items()}
    read = {code: columns for code, columns in series.items() if columns is not None}
    return StatsParts(read, found.totals) if found.success and len(read) == len(series) else None


def _columns(points: list[_Pair] | bool | None) -> Columns | None:
    if isinstance(points, bool) or not points:
        return None if points is True else Columns()
    return Columns(tuple([point.time for point in points]), tuple([point.mean for point in points]))


def _any_columns(text: msgspec.Raw) -> Columns | None:
    try:
        return _columns(_pairs(text))
    except msgspec.ValidationError:
        return _wide(text)


def _wide(text: msgspec.Raw) -> Columns:
    points: Sequence[_Three]
    try:
        points, maximum = _threes(text), None
    except msgspec.ValidationError:
        points = widest = _fours(text)
        maximum = tuple([point.maximum for point in widest])
    return Columns(
        tuple([point.time for point in points]),
        tuple([point.mean for point in points]),
        tuple([point.minimum for point in points]),
        maximum,
    )


def sites(body: bytes, *, late: str) -> list[object] | None:
    """Read the records of sites; the value of the key `late` is left as `bytes` of sound JSON."""
    found = _sites(body)
    if not found.success or bounded_parser is None:
        return None
    parse: Callable[[msgspec.Raw], JSON] = bounded_parser
    records: list[object] = []
    for record in found.records:
        if late in record and not is_sound(bytes(record[late]), depth=3):
            return None
        records.append({key: bytes(text) if key == late else parse(text) for key, text in record.items()})
    return records
