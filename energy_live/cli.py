"""The door of the command line: finds the commands, and what is missing for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from energy_live.exits import INTERRUPTED, complain

_EXTRA: Final = frozenset({"click", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `energy-live` and return its exit code.

    0: done. 1: something went wrong, and one line on stderr says what. 2: not usable as called. 130: Ctrl-C.
    """
    try:
        # Here and not above: the commands need the extra, and its absence is worth a sentence.
        from energy_live.commands import energy_live  # noqa: PLC0415

        return energy_live(arguments)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        return complain("the command line needs an extra: pip install 'energy-live[cli]'")
    except KeyboardInterrupt:
        return INTERRUPTED
