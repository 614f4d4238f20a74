"""Messages by their text: of one that was read in full a pattern is made, which leaves its numbers open.

A product sends the same members in the same order, second after second. The pattern says what a number may
look like: text that fits is JSON that would be accepted, and says what it says when it is read in full.
Matching takes a third of the time of parsing, with the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from energy_core.codec import json as codec_json
from energy_core.codec.json import JSON, REFUSALS
from energy_core.printable import printable
from voltstorage_async.field_reader import EARLIEST_SECOND, FieldMeaning, FieldReader, Glance, written

# Narrower than JSON, so that nothing is left to decide: no number leaves 64 bits or becomes infinite, no time
# lies before 2001 or beyond all calendars, and text is plain.
_SECOND: Final = rb"([1-9][0-9]{9,10}+)"
_NUMBER: Final = rb"-?+(?:0|[1-9][0-9]{0,14}+)(?:\.[0-9]{1,17}+)?+(?:[eE][-+]?+[0-9]{1,2}+)?+"
_VALUES: Final[Mapping[type, bytes]] = {
    int: _NUMBER,
    float: _NUMBER,
    str: rb'"[ !#-\[\]-~]*+"',
    bool: rb"(?:true|false)",
    type(None): rb"null",
}

_KEY_AND_VALUE: Final = re.compile(rb'"([^"]*+)"[ \t\r\n]*+:[ \t\r\n]*+("[^"]*+"|[^][{}", \t\r\n]++)')
"""A key and a value without parts, where no text has a backslash."""


def by_pattern(
    message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON], chosen: Mapping[str, FieldMeaning]
) -> Glance | None:
    """Return what reads messages whose text is like this one's, or None where that cannot be told.

    Args:
        message: The text of a message.
        raw: What it says: a type, a time and data.
        data: The data.
        chosen: Which numbers of it are read, and what they mean.
    """
    parts = list(_parts(message, raw, data, list(chosen)))
    if not parts:
        return None
    match = re.compile(b"".join(part.pattern for part in parts)).fullmatch
    head = f"""found = match(data)
    if found is None: return None
    {"".join(f"{part.name}, " for part in parts if part.name)} = found.groups()
    {"; ".join(f"v{at} = float(v{at})" for at in range(len(chosen))) or "pass"}"""
    glance: Glance = written(head, "int(second), {meant}", list(chosen.values()), {"match": match})
    return glance


class _Part(NamedTuple):
    """A member of a message, and what stands before it."""

    pattern: bytes
    name: str = ""
    """Of the group in the pattern, if there is one."""


def _parts(
    message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON], chosen: Sequence[str]
) -> Iterator[_Part]:
    """Cut up a message, or yield nothing where that cannot be done with certainty."""
    if not message.isascii() or b"\\" in message:
        return
    order = [(key, inside) for each in raw for key, inside in _told_for(each, data)]
    found = list(_KEY_AND_VALUE.finditer(message))
    if [each[1].decode() for each in found] != [key for key, _ in order]:
        return
    at = 0
    for each, (key, inside) in zip(found, order, strict=True):
        before = re.escape(message[at : each.start(2)])
        if inside:
            value = _VALUES[type(data[key])]
            name = f"v{chosen.index(key)}" if key in chosen else ""
            yield _Part(before + (b"(%b)" % value if name else value), name)
        elif key == "time":
            yield _Part(before + _SECOND, "second")
        else:
            yield _Part(before + re.escape(each[2]))
        at = each.end(2)
    yield _Part(re.escape(message[at:]))


def _told_for(key: str, data: Mapping[str, JSON]) -> list[tuple[str, bool]]:
    """Return the keys that have plain values where this member stands, and whether they are in its data."""
    return [(each, True) for each in data] if key == "data" else [(key, False)]


if TYPE_CHECKING:
    import msgspec
else:
    try:
        import msgspec
    except ImportError:
        msgspec = None

_LAST_SECOND: Final = 99_999_999_999
"""Before the end of all calendars, and the last that `pattern` takes."""


def by_shape(data: Mapping[str, JSON], chosen: Mapping[str, FieldMeaning]) -> Glance | None:
    """Return what reads messages whose data has these keys with values of these types; None: none can.

    Args:
        data: The data of a message.
        chosen: Which numbers of it are read, and what they mean.
    """
    if not all(key.isprintable() and '"' not in key and "\\" not in key for key in data):
        return None
    whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    kinds = {int: whole | float, float: whole | float, str: str, bool: bool, type(None): None}
    fields = [(f"f{at}", kinds[type(data[key])], msgspec.field(name=key)) for at, key in enumerate(data)]
    inner = msgspec.defstruct("Data", fields, gc=False, forbid_unknown_fields=True)
    second = Annotated[int, msgspec.Meta(ge=EARLIEST_SECOND, le=_LAST_SECOND)]
    members = [("type", Literal["latest-data"]), ("time", second), ("data", inner)]
    message = msgspec.defstruct("Message", members, gc=False, forbid_unknown_fields=True)
    places = [list(data).index(key) for key in chosen]
    head = f"""try: found = decode(data)
    except refusals: return None
    inner = found.data
    {"; ".join(f"v{at} = inner.f{place}" for at, place in enumerate(places)) or "pass"}"""
    names = {"decode": msgspec.json.Decoder(message).decode, "refusals": REFUSALS}
    glance: Glance = written(head, "found.time, {meant}", list(chosen.values()), names)
    return glance


_MEMBERS: Final = frozenset({"type", "time", "data"})
_KINDS: Final = {int: "number", float: "number", str: "text", bool: "switch", type(None): "nothing"}
_COUNTED: Final = frozenset({"text", "switch"})
"""Where a number belongs, these count as unusable, and somebody has to look."""
_MOST_KEYS: Final = 64
_LONGEST: Final = 4096
_LESSONS: Final = 128
"""So often something is made that reads at a glance, which takes hundreds of times as long as to read so."""


class FastReaders:
    """Knows what messages look like.

    Args:
        translator: Knows what their keys mean.
    """

    __slots__ = ("_glances", "_lessons", "_translator")

    def __init__(self, translator: FieldReader) -> None:
        self._translator = translator
        self._glances: dict[tuple[object, ...], Glance] = {}
        self._lessons = 0

    def like(self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON]) -> Glance | None:
        """Return what reads messages that look like this one; None where they have to be read in full.

        Args:
            message: The text of the message.
            raw: What it says.
            data: The data in it.
        """
        if raw.keys() != _MEMBERS or len(data) > _MOST_KEYS or len(message) > _LONGEST:
            return None
        kinds = {key: _KINDS.get(type(value)) for key, value in data.items()}
        if any(
            kind is None or (kind in _COUNTED and self._translator.means(key)) for key, kind in kinds.items()
        ):
            return None
        look = (tuple(raw), *kinds.items())
        glance = self._glances.get(look)
        # The same look may have been spelled otherwise before.
        if (glance is None or glance(message) is None) and self._lessons < _LESSONS:
            self._lessons += 1
            glance = self._learn(message, raw, data)
            if glance is not None:
                self._glances[look] = glance
        return glance

    def _learn(self, message: bytes, raw: Mapping[str, JSON], data: Mapping[str, JSON]) -> Glance | None:
        chosen = self._translator.chosen([key for key, value in data.items() if value is not None])
        if codec_json.bounded_parser is not None:
            return by_shape(data, chosen)
        return by_pattern(message, raw, data, chosen)

    @printable
    def __repr__(self) -> str:
        return f"<Straight, {len(self._glances)} looks known, {self._lessons} lessons>"
