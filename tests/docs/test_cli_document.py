import re

import pytest

from energy_live.cli import commands
from tests.docs.cli_document import DOCUMENT, household, output_of, sessions

TEXT = DOCUMENT.read_text()
SESSIONS = sessions(TEXT)
STREAMS = ("demo", "watch")
_CHANGING = frozenset(
    [
        *("live", "connecting", "backfilling"),
        *("charging", "discharging", "idle", "importing", "feeding", "in"),
        *("charge", "not", "shown"),
    ]
)


def words(output):
    """Return the words of a live table; its numbers, states and directions differ from run to run.

    So do its alarms: they arrive after the first readings.
    """
    output = re.sub(r"^alarm .*\n", "", output, flags=re.MULTILINE)
    return set(re.findall(r"[A-Za-z°%┌]{2,}", output)) - _CHANGING


def without_versions(output):
    """Return the rows of `doctor` that do not depend on the machine."""
    return [
        line for line in output.splitlines() if not re.match(r"energy-live\s+(version|python|extra)", line)
    ]


@pytest.mark.parametrize(("command", "printed"), SESSIONS, ids=[command for command, _ in SESSIONS])
async def test_a_command_prints_what_the_document_shows(tmp_path, command, printed):
    """Each command of the document prints what is printed there; live values only have the same words."""
    async with household() as simulator:
        output = await output_of(command, simulator.environment(), tmp_path)
    name = command.split()[1]
    if name in STREAMS:
        assert words(output) == words(printed)
        assert "┌─ solar" in output
    elif name == "doctor":
        assert without_versions(output) == without_versions(printed)
        assert "version" in output
    else:
        assert output == printed


def test_every_command_has_a_section():
    """Each command has a section, and each is in the document with its real output, except `completion`."""
    assert {f"## {name}\n" for name in commands.commands} <= {
        f"{line}\n" for line in TEXT.splitlines() if line.startswith("## ")
    }
    shown = {command.split()[1] for command, _ in SESSIONS}
    assert set(commands.commands) - shown == {"completion"}
