"""The shapes of VRM's largest and most frequent answers, for msgspec; without it nothing here is used.

Each function returns what an answer holds when it is exactly as documented, and None or one of msgspec's
errors for anything else, which is then read the tolerant way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias

from energy_core.codec import json as codec_json
from energy_core.codec.json import is_sound
from vrm_async.decoding.points import LAST_MS, MILLISECONDS_FROM, Columns

if TYPE_CHECKING:
    import msgspec
else:
    try:
        import msgspec
    except ImportError:
        msgspec = None


_ENVELOPE: Final = frozenset({"success", "records"})
_LATE: Final = "extended"
_NAMED_LATE: Final = re.compile(rb'"extended"[ \t\r\n]*:[ \t\r\n]*')


class StatsParts(NamedTuple):
    """What an answer of stats holds that is not split by instance."""

    series: Mapping[str, Columns]
    totals: Mapping[str, object]


if msgspec is not None:
    Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    Number: TypeAlias = Int64 | float | None
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

    class _User(msgspec.Struct, gc=False, forbid_unknown_fields=True):
        # The fields of `User`, in its order.
        id: Int64
        name: str | None = None
        email: str | None = None
        country: str | None = None
        access_level: Int64 | None = msgspec.field(name="accessLevel", default=None)
        access_token_id: Int64 | None = msgspec.field(name="idAccessToken", default=None)

    class _Me(msgspec.Struct, gc=False, forbid_unknown_fields=True):
        success: bool
        user: _User

    class _Site(msgspec.Struct):
        extended: msgspec.Raw = msgspec.Raw()

    class _Sites(msgspec.Struct):
        records: list[_Site]

    _me = msgspec.json.Decoder(_Me).decode
    _narrow = msgspec.json.Decoder(_Narrow).decode
    _stats = msgspec.json.Decoder(_Stats).decode
    _sites = msgspec.json.Decoder(_Sites).decode
    _pairs = msgspec.json.Decoder(list[_Pair] | bool | None).decode
    _threes = msgspec.json.Decoder(list[_Three]).decode
    _fours = msgspec.json.Decoder(list[_Four]).decode


def user(body: bytes) -> tuple[object, ...] | None:
    """Read the fields of the account, in the order of `User`."""
    found = _me(body)
    return msgspec.structs.astuple(found.user) if found.success else None


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


def sites(body: bytes, unread: Callable[[bytes], object]) -> list[object] | None:
    """Read the records of sites; what is `extended` is left as `unread` of a text that is sound JSON."""
    late = [bytes(site.extended) for site in _sites(body).records]
    rest = _cut(body, late)
    if rest is None or codec_json.bounded_parser is None or not all(is_sound(part, depth=3) for part in late):
        return None
    answer = codec_json.bounded_parser(rest)
    if not isinstance(answer, dict) or answer.keys() != _ENVELOPE or answer["success"] is not True:
        return None
    records: list[dict[str, object]] = answer["records"]  # type: ignore[assignment]  # or `_sites` had refused
    for record, part in zip(records, late, strict=True):
        if part:
            # Were another value of that name cut out somewhere, one of these would still be there.
            if record[_LATE] is not None:
                return None
            record[_LATE] = unread(part)
    return [*records]


def _cut(body: bytes, late: list[bytes]) -> bytes | None:
    """Put null where the late parts of a body are, so that the rest can be parsed at once."""
    pieces, at = [], 0
    for part in filter(None, late):
        name = _NAMED_LATE.search(body, at)
        if name is None or not body.startswith(part, name.end()):
            return None
        pieces.append(body[at : name.end()])
        at = name.end() + len(part)
    pieces.append(body[at:])
    return b"null".join(pieces)
