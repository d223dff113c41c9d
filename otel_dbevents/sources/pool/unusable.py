"""Connections that were found unusable, and why: by a query, a ping, or the application."""

from collections.abc import Callable
from time import time_ns
from typing import Any

from sqlalchemy.pool import NullPool

from otel_dbevents.events import ConnectionInvalidated
from otel_dbevents.sources.caller import current_context, parent_of
from otel_dbevents.sources.connection import INFO_KEY, ConnectionState
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.pool.checkin import CAN_FOLLOW, closed
from otel_dbevents.sources.pool.places import pool_of
from otel_dbevents.sources.watch import Watch

_MOST_PINGS = 100


def pinging(watch: Watch, dialect: Any) -> dict[str, Callable[..., Any]]:
    """Return what takes the place of the dialect's ping: it keeps how long it took, or its error.

    The pool asks it before it gives a connection out (``pool_pre_ping``), and of the driver's
    error SQLAlchemy passes on only that there was one. A ping is no query of the application's.
    """
    ping = dialect.do_ping

    def do_ping(connection: Any) -> Any:
        start = time_ns()
        try:
            answer = ping(connection)
        except Exception as error:
            if watch.active:
                _ping_failed(watch, dialect, connection, error)
            raise
        if watch.active:
            _ping_answered(watch, connection, time_ns() - start)
        return answer

    return {"do_ping": do_ping}


def _ping_answered(watch: Watch, connection: Any, took_ns: int) -> None:
    try:
        if len(watch.pinged) >= _MOST_PINGS:  # those were not given out
            watch.pinged.clear()
        watch.pinged[id(connection)] = max(0, took_ns)
    except Exception as own:  # noqa: BLE001 - the application must not see it
        guard.caught(own)


def _ping_failed(watch: Watch, dialect: Any, connection: Any, error: Exception) -> None:
    try:
        if is_lost(dialect, error, connection):
            if len(watch.pings) >= _MOST_PINGS:
                watch.pings.clear()
            watch.pings[id(connection)] = describe(error, messages=watch.messages, disconnect=True)
    except Exception as own:  # noqa: BLE001 - the application must not see it
        guard.caught(own)


def unusable(record: Any, error: BaseException | None, soft: bool) -> None:
    """Tell that a connection is found unusable: by a query or a ping, or by the application.

    Before SQLAlchemy closes it. Never raises. A `NullPool`'s is closed for good: it tells no more.
    """
    try:
        connection = record.dbapi_connection
        state: ConnectionState | None = record.info.get(INFO_KEY)
        if connection is None or state is None or not state.watch.active:
            return
        watch, caller = state.watch, current_context()
        failure = watch.pings.pop(id(connection), None)
        if failure is None and error is not None:
            failure = describe(error, messages=watch.messages, disconnect=True)
        told = ConnectionInvalidated(watch.database, parent_of(caller), time_ns(), soft, failure)
        state.publish(told, caller)
        if CAN_FOLLOW and not soft and type(pool_of(record)) is NullPool:
            closed(connection, record)
    except Exception as own:  # noqa: BLE001 - the application must not see it
        guard.noted(own)  # it may be a finalizer that comes here
