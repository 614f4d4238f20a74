"""How the command line ends: exit codes, and the one line on stderr that says why."""

from __future__ import annotations

import sys
from typing import Final

FAILED: Final = 1
"""Something went wrong on the way."""
UNUSABLE: Final = 2
"""The options or the environment cannot be used; what click says of a wrong option too."""
INTERRUPTED: Final = 130
"""What shells expect of a program that Ctrl-C has ended."""


def complain(trouble: object, code: int = FAILED) -> int:
    """Say on stderr, in one line, why it does not go on; return the exit code."""
    line = "".join(char if char.isprintable() else " " for char in str(trouble))
    if sys.stderr is not None:
        sys.stderr.write(f"energy-live: {line}\n")
    return code
