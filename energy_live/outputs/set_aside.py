"""Keeps events that a store has refused in a file of lines of JSON, so that nothing is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from energy_live.outputs.output import RefusedEvent

_log: Final = logging.getLogger("energy_live.outputs")

_LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the file; further events are counted only."""


def set_aside(file: Path, refused: Sequence[RefusedEvent]) -> None:
    """Append refused events to a file, one line of JSON each, with the reason. A failure is logged."""
    try:
        with file.open("a", encoding="utf-8") as out:
            if out.tell() < _LARGEST:
                for each in refused:
                    reason = json.dumps(each.reason)
                    out.write(f'{{"reason":{reason},"event":{each.event.to_json()}}}\n')
    except OSError as error:
        _log.error("refused events cannot be set aside, %s", error.strerror)
