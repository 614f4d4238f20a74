"""What VRM's description allows in a body: the members it names, of the types it names, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energy_live.simulator.envelope import Refused
from energy_live.simulator.records import Json

WHOLE: Final = (int,)
NUMBER: Final = (int, float)
TEXT: Final = (str,)
TRUTH: Final = (bool,)
LIST: Final = (list,)
OBJECT: Final = (dict,)
ANY: Final = (int, float, str, bool, list, dict)

Kinds = Mapping[str, tuple[type, ...]]
_NONE: Final[Kinds] = {}


def checked(sent: Json, *, required: Kinds = _NONE, optional: Kinds = _NONE) -> Json:
    """Return a body that fits its description; any other is answered 422, null included."""
    wrong: dict[str, str] = {name: "Required" for name in required if name not in sent}
    known = {**required, **optional}
    for name, value in sent.items():
        if name not in known:
            wrong[name] = "Not allowed"
        elif not _is(value, known[name]):
            wrong[name] = f"Must be {' or '.join(kind.__name__ for kind in known[name])}"
    if wrong:
        raise Refused(422, "invalid_parameters", wrong)
    return sent


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return type(value) in kinds


def one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Answer 422 where a value is none of those that are listed."""
    if value not in allowed:
        raise Refused(422, "invalid_parameters", {name: "The value is not valid."})


def items(name: str, values: object, kinds: tuple[type, ...]) -> list[object]:
    """Return a list whose elements are of one kind."""
    if not isinstance(values, list) or not all(_is(value, kinds) for value in values):
        raise Refused(422, "invalid_parameters", {name: f"Must be a list of {kinds[0].__name__}"})
    return values
