"""The probe of an SQLite file that is not asked by way of an engine's driver."""

import errno
import sqlite3
from pathlib import Path
from time import monotonic

from otel_dbevents.health.round import Round


class SqliteFile:
    """Reads a file as SQLite, without writing. ``path`` may be ``:memory:``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, stages: Round) -> None:
        """Open, read, close."""
        is_memory = self._path in ("", ":memory:")
        if not is_memory and not Path(self._path).exists():
            raise FileNotFoundError(errno.ENOENT, "no such file")
        where = ":memory:" if is_memory else Path(self._path).absolute().as_uri() + "?mode=ro"
        file = sqlite3.connect(where, uri=not is_memory, timeout=stages.limit_s)
        try:
            until = monotonic() + 2 * stages.limit_s
            file.set_progress_handler(lambda: monotonic() > until, 1_000)
            stages.connected()
            file.execute("PRAGMA schema_version").fetchone()
            stages.answered()
        finally:
            file.close()
