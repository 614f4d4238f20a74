"""Fast readers of stats and lists of sites with msgspec; not used if msgspec is not installed.

Each function reads an answer that is exactly as documented. For any other it returns None or raises an error
of msgspec, and the caller uses the tolerant decoder. Against victron-vrm, stats of 10,000 points are 3.1x as
fast with it, 0.8x without; lists of extended sites 6.2x and 1.5x.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias

from energy_core.codec import json as codec_json
from energy_core.codec.json import strict_json
from energy_core.codec.json_limits import is_sound
from vrm_async.decoding.points import LAST_MS, MILLISECONDS_FROM, Columns

if TYPE_CHECKING:
    import msgspec
else:
    try:
        import msgspec
    except ImportError:
        msgspec = None


_ENVELOPE: Final = frozenset({"success", "records"})
_LAZY: Final = "extended"
_LAZY_NAME: Final = re.compile(rb'"extended"[ \t\r\n]*:[ \t\r\n]*')


class StatsParts(NamedTuple):
    """The contents of stats that are not split by instance."""

    series: Mapping[str, Columns]
    totals: Mapping[str, object]


if msgspec is not None:
    Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    Number: TypeAlias = Int64 | float | None
    Time: TypeAlias = Annotated[int, msgspec.Meta(ge=MILLISECONDS_FROM, le=LAST_MS)]

    class _Pair(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
        time: Time
        value: Number

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

    class _Site(msgspec.Struct):
        extended: msgspec.Raw = msgspec.Raw()

    class _Sites(msgspec.Struct):
        records: list[_Site]

    _narrow = msgspec.json.Decoder(_Narrow).decode
    _stats = msgspec.json.Decoder(_Stats).decode
    _sites = msgspec.json.Decoder(_Sites).decode
    _pairs = msgspec.json.Decoder(list[_Pair] | bool | None).decode
    _threes = msgspec.json.Decoder(list[_Three]).decode
    _fours = msgspec.json.Decoder(list[_Four]).decode


def stats(body: bytes) -> StatsParts | None:
    """Read stats whose points are numbers with times in ms."""
    found: _Narrow | _Stats
    series: dict[str, Columns | None]
    try:
        # Most answers have points of time and value only; one decoder call reads all of them.
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
    return Columns(tuple([point.time for point in points]), tuple([point.value for point in points]))


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
        tuple([point.value for point in points]),
        tuple([point.minimum for point in points]),
        maximum,
    )


def sites(body: bytes) -> list[object] | None:
    """Read the records of sites; ``extended``, if a list or an object, stays as bytes that are sound JSON."""
    # msgspec skips the attributes fast and returns their bytes; the rest is parsed without them.
    lazy = [bytes(site.extended) for site in _sites(body).records]
    rest = _without(body, lazy)
    # Unsound JSON must raise while the answer is read, not at the first access of an attribute.
    if rest is None or codec_json.msgspec_loads is None or not all(is_sound(text, depth=3) for text in lazy):
        return None
    answer = codec_json.msgspec_loads(rest)
    if not isinstance(answer, dict) or answer.keys() != _ENVELOPE or answer["success"] is not True:
        return None
    records: list[dict[str, object]] = answer["records"]  # type: ignore[assignment]  # or `_sites` had refused
    for record, text in zip(records, lazy, strict=True):
        if text:
            # If the value of another member of that name was replaced, one of these is not null.
            if record[_LAZY] is not None:
                return None
            record[_LAZY] = text if text.startswith((b"[", b"{")) else strict_json(text)
    return [*records]


def _without(body: bytes, lazy: list[bytes]) -> bytes | None:
    """Replace these texts by null, so that the rest can be parsed at once; None if one is not found."""
    pieces, at = [], 0
    for text in filter(None, lazy):
        name = _LAZY_NAME.search(body, at)
        if name is None or not body.startswith(text, name.end()):
            return None
        pieces.append(body[at : name.end()])
        at = name.end() + len(text)
    pieces.append(body[at:])
    return b"null".join(pieces)
