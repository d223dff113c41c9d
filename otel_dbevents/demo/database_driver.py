"""A driver (PEP 249) and a dialect of SQLAlchemy's for `database_server`."""

import json
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL

apilevel: Final = "2.0"
threadsafety: Final = 1
paramstyle: Final = "qmark"
sqlite_version_info: Final = (3, 35, 0)
_GONE: Final = "the server is gone"
_ANSWERS_WITHIN_S: Final = 5.0


class Error(Exception):
    """What this driver raises."""


class DatabaseError(Error):
    """The database refused."""


class OperationalError(DatabaseError):
    """The database is not there, or could not do it."""


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class Connection:
    """One connection to the server."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_connection((host, port), _ANSWERS_WITHIN_S)
        except OSError as error:
            raise OperationalError("no connection") from error
        self._answers = self._socket.makefile("rb")

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._socket.fileno()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer. Raises `OperationalError` where there is none."""
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            raise OperationalError(_GONE) from error
        if not line:
            raise OperationalError(_GONE)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise globals().get(answer["error"], DatabaseError)(answer["message"])
        return answer

    def cursor(self) -> "Cursor":
        """Return a cursor."""
        return Cursor(self)

    def commit(self) -> None:
        """Commit."""
        self.ask(do="commit")

    def rollback(self) -> None:
        """Roll back."""
        self.ask(do="rollback")

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()


class Cursor:
    """Runs statements; what they return is read at once."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Sequence[tuple[Any, ...]] | None = None
        self.rowcount, self.lastrowid = -1, None

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> "Cursor":
        """Run a statement."""
        told = self._connection.ask(do="execute", sql=sql, parameters=list(parameters))
        self._rows = [tuple(row) for row in told["rows"]]
        columns = told["columns"]
        self.description = [(name, *[None] * 6) for name in columns] if columns else None
        self.rowcount, self.lastrowid = told["changed"], told["last"]
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row; None after the last."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = arraysize) -> list[tuple[Any, ...]]:
        """Return the next rows."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        """Nothing is held at the server."""


connect = Connection


class Dialect(SQLiteDialect):
    """SQLite's SQL, over the socket."""

    driver = "shopd"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return this module."""
        return sys.modules[__name__]

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        """Return what `Connection` is made with."""
        return [], {"host": url.host, "port": url.port}

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the connection is lost."""
        del connection, cursor
        return isinstance(e, OperationalError) and str(e) == _GONE


def register() -> None:
    """Have SQLAlchemy know ``sqlite+shopd://host:port/name``. Twice is harmless."""
    registry.register("sqlite.shopd", __name__, "Dialect")
