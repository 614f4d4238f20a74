"""`python -m energy_live` is `energy-live`."""

import sys

from energy_live.cli import main

if __name__ == "__main__":
    sys.exit(main())
