"""``python -m otel_dbevents``: the command ``otel-dbevents``."""

import sys

from otel_dbevents.cli import main

if __name__ == "__main__":
    sys.exit(main())
