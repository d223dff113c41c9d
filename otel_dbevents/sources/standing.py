"""How a transaction stands before its end, as the driver knows it; no statement is run to ask.

Two things that no exception tells. A COMMIT may have nothing to commit: the driver commits by
itself, or no transaction was begun (SQLite's drivers begin one at the first write). And
PostgreSQL answers COMMIT by ROLLBACK when a statement had failed and no savepoint undid that:
psycopg and psycopg2 know it before, asyncpg hears the answer and keeps it to itself.
"""

from typing import Any, Final

from sqlalchemy.engine import Connection

from otel_dbevents.sources.connection import ConnectionState
from otel_dbevents.sources.guarding import guard
from otel_dbevents.swallowing import told

_IDLE: Final = 0
_IN_ERROR: Final = 3
"""libpq's PQTRANS_IDLE and PQTRANS_INERROR."""
_IN_TRANSACTION: Final = 1
_AUTOCOMMIT: Final = 2
"""MySQL's SERVER_STATUS_IN_TRANS, which reading alone may not set, and SERVER_STATUS_AUTOCOMMIT."""


class Standing:
    """Looks at a connection's transaction before it is ended. Never raises."""

    __slots__ = ("_driver", "is_broken", "is_closed", "protocol")

    def __init__(self, connection: Any, state: ConnectionState) -> None:
        self.is_closed = state.autocommit
        """Whether nothing is open, so that nothing can be committed or rolled back. Where the
        driver cannot tell it is as SQLAlchemy set it; where it can, SQLAlchemy's word is not
        enough: Turso's dialect ignores AUTOCOMMIT, and libSQL has its own."""
        self.is_broken = False
        """Whether a COMMIT would be, or was, answered by ROLLBACK."""
        self.protocol: Any = None
        """What is listened to, where anything is."""
        try:
            if isinstance(connection, Connection):
                self._driver = driver = _driver_of(connection.connection)
                self.is_closed = False  # a two-phase one: prepared, it is open on no connection
                self.is_broken = _status_of(driver) == _IN_ERROR
                return
            self._driver = driver = _driver_of(connection)
            is_open = getattr(driver, "in_transaction", None)
            if is_open is True or is_open is False:
                self.is_closed = not is_open
            else:
                self._look(driver)
        except Exception as error:  # noqa: BLE001 - a connection that is closed cannot say
            told("standing", error)

    def _look(self, driver: Any) -> None:
        if isinstance(status := _status_of(driver), int):
            self.is_closed, self.is_broken = status == _IDLE, status == _IN_ERROR
        elif type(driver).__module__.startswith("asyncpg."):
            self.is_closed = not driver.is_in_transaction()
        elif isinstance(flags := getattr(driver, "server_status", None), int):
            by_itself = self.is_closed or bool(flags & _AUTOCOMMIT)
            self.is_closed = by_itself and not flags & _IN_TRANSACTION

    def listen(self) -> None:
        """Hear what the server answers to COMMIT, where the driver would not say it."""
        try:
            if type(self._driver).__module__.startswith("asyncpg."):
                self.protocol = self._driver._protocol
                self._stand_before(self.protocol.query)
        except Exception as error:  # noqa: BLE001
            guard.caught(error)

    def heard(self) -> None:
        """Listen no longer."""
        try:
            if self.protocol is not None:
                self.protocol.__dict__.pop("query", None)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _stand_before(self, query: Any) -> None:
        """Stand before the method of this one connection that returns the server's answer."""

        async def listening(*arguments: Any) -> Any:
            answer = await query(*arguments)
            self.is_broken = answer == "ROLLBACK"
            return answer

        self.protocol.query = listening


def _status_of(driver: Any) -> Any:
    return getattr(getattr(driver, "info", None), "transaction_status", None)


def _driver_of(proxied: Any) -> Any:
    """Return the driver's connection behind the pool's proxy."""
    adapted = proxied.dbapi_connection
    return getattr(adapted, "driver_connection", adapted)
