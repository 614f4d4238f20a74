"""Entry point of `energy-live` and of `python -m energy_live`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from energy_live.runner import INTERRUPTED, print_error

_EXTRA: Final = frozenset({"click", "rich"})
"""Packages of the extra `cli`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `energy-live` and return its exit code.

    0: success. 1: failure, with the reason in one line on stderr. 2: wrong options or environment.
    130: Ctrl-C.

    Args:
        arguments: The command line without the program's name; `sys.argv[1:]` by default.
    """
    try:
        # Imported here to print a helpful line if the extra `cli` is not installed.
        from energy_live.cli import run_command  # noqa: PLC0415

        return run_command(arguments)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        return print_error("the command line needs an extra: pip install 'energy-live[cli]'")
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
