"""Checks the README inside a wheel: `python tests/docs/wheel_readme.py WHEEL` fails at a relative link."""

import re
import sys
import zipfile
from email import message_from_bytes

if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(name))
    readme = metadata.get_payload()
    assert isinstance(readme, str)
    assert readme.startswith("# energy-live")
    relative = re.findall(r"\]\((?!https?://|#)[^)]*\)", readme)
    sys.stdout.write(f"README of the wheel: {len(readme)} characters, relative links: {relative}\n")
    sys.exit(bool(relative))
