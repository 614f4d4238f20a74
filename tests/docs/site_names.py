"""Checks that the built site documents every public name: `python tests/docs/site_names.py OBJECTS.INV`."""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.docs.public import MODULES, public_names


def documented(inventory: bytes) -> set[str]:
    """Return the qualified names of Sphinx's inventory: four lines of header, then a compressed list."""
    body = inventory.split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(body).decode().splitlines()}


if __name__ == "__main__":
    found = documented(Path(sys.argv[1]).read_bytes())
    last = {name: module for module in MODULES for name in public_names(module)}
    missing = sorted(f"{module}.{name}" for name, module in last.items() if f"{module}.{name}" not in found)
    sys.stdout.write(f"{len(last)} public names, {len(missing)} not in the site: {missing}\n")
    sys.exit(bool(missing))
