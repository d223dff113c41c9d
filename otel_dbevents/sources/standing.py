"""How a transaction stands before its end, as the driver knows it; no statement is run to ask.

Two things that no exception tells. A COMMIT may have nothing to commit: the driver commits by
itself, or no transaction was begun (SQLite's drivers begin one at the first write). And
PostgreSQL answers COMMIT by ROLLBACK when a statement had failed and no savepoint undid that:
psycopg and psycopg2 know it before, asyncpg hears the answer and keeps it to itself.
"""

from typing import Any, Final

from sqlalchemy.engine import Connection

from otel_dbevents.sources.watch import guard

_IDLE: Final = 0
_IN_ERROR: Final = 3
"""libpq's PQTRANS_IDLE and PQTRANS_INERROR."""
_IN_TRANSACTION: Final = 1
_AUTOCOMMIT: Final = 2
"""MySQL's SERVER_STATUS_IN_TRANS, which reading alone may not set, and SERVER_STATUS_AUTOCOMMIT."""


class Standing:
    """Looks at a connection's transaction before it is ended."""

    __slots__ = ("_driver", "_protocol", "is_broken", "is_open")

    def __init__(self, connection: Any = None) -> None:
        self.is_open: bool | None = None
        """Whether there is anything to commit or roll back; None where the driver cannot say."""
        self.is_broken = False
        """Whether a COMMIT would be, or was, answered by ROLLBACK."""
        self._driver: Any = None
        self._protocol: Any = None
        if connection is None:
            return
        try:
            self._look(_driver_of(connection))
            if isinstance(connection, Connection):
                self.is_open = None  # a two-phase one: once prepared it is open on no connection
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _look(self, driver: Any) -> None:
        self._driver = driver
        status = getattr(getattr(driver, "info", None), "transaction_status", None)
        if isinstance(status, int):
            self.is_open, self.is_broken = status != _IDLE, status == _IN_ERROR
        elif type(driver).__module__.startswith("asyncpg."):
            self.is_open = driver.is_in_transaction()
        elif hasattr(driver, "server_status"):
            # PyMySQL and asyncmy hear of it with each answer but rows and errors
            flags = getattr(driver._result, "server_status", None)
            self.is_open = bool(flags & _IN_TRANSACTION) if isinstance(flags, int) else None
        elif isinstance(told := getattr(driver, "in_transaction", None), bool):
            self.is_open = told

    def listen(self) -> None:
        """Hear what the server answers to COMMIT, where the driver would not say it."""
        try:
            if type(self._driver).__module__.startswith("asyncpg."):
                self._protocol = self._driver._protocol
                self._stand_before(self._protocol.query)
        except Exception as error:  # noqa: BLE001
            guard.caught(error)

    def heard(self) -> None:
        """Listen no longer."""
        if self._protocol is not None:
            self._protocol.__dict__.pop("query", None)

    def _stand_before(self, query: Any) -> None:
        """Stand before the method of this one connection that returns the server's answer."""

        async def listening(*arguments: Any) -> Any:
            answer = await query(*arguments)
            self.is_broken = answer == "ROLLBACK"
            return answer

        self._protocol.query = listening


NOT_ASKED: Final = Standing()
"""Of a transaction whose end says the same however it stands."""


def _driver_of(connection: Any) -> Any:
    """Return the driver's connection behind the pool's proxy, or behind SQLAlchemy's own object.

    The latter is what a two-phase transaction comes with.
    """
    proxied = connection.connection if isinstance(connection, Connection) else connection
    adapted = proxied.dbapi_connection
    return getattr(adapted, "driver_connection", adapted)
