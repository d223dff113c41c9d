"""Asking for a plan: a session of our own, opened, fenced in, asked once, rolled back and closed.

None of the application's connections is taken (`sources.session`). Settings are made for the
transaction alone where the database can do that: behind a proxy the server's session may be
another's next.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from sqlalchemy.engine import Engine

from otel_dbevents.sources.explain.plan import WAYS, render
from otel_dbevents.sources.explain.question import Question
from otel_dbevents.sources.session import open_session, within

CONNECTING_S = 5.0
"""How long a driver may take besides, to connect and to close; an async one is stopped then."""
_SERVED = ("libsql", "aiolibsql")
"""Drivers whose database may be behind a server."""
_STEPS = 1_000
"""After so many steps SQLite looks whether the time is over."""


def ask(engine: Engine, question: Question, timeout_ms: float) -> str:
    """Return the plan of a statement, without values. Blocks: not for an application's thread.

    An async engine's driver runs on an event loop that lives as long as this call. Raises what the
    driver raises, `TimeoutError` included.
    """
    seconds = timeout_ms / 1000 + CONNECTING_S
    return within(engine, seconds, lambda _: _ask(engine, question, timeout_ms))


def _ask(engine: Engine, question: Question, timeout_ms: float) -> str:
    dialect = engine.dialect
    way = WAYS[dialect.name]
    session = open_session(engine)
    try:
        cursor = session.cursor()
        try:
            _FENCES[dialect.name](dialect, session.dbapi_connection, cursor, timeout_ms)
            _execute(cursor, way.prefix + question.sql, question.parameters)
            return render(way, cursor.fetchall())
        finally:
            cursor.close()
    finally:
        try:
            session.dbapi_connection.rollback()
        finally:
            session.close()


def _execute(cursor: Any, sql: str, parameters: Any) -> None:
    if parameters is None:
        cursor.execute(sql)
    else:
        cursor.execute(sql, parameters)


def _fence_postgresql(dialect: Any, connection: Any, cursor: Any, timeout_ms: float) -> None:
    """Begin a transaction that reads only; it ends what we set, too."""
    dialect.set_isolation_level(connection, "READ COMMITTED")  # it may be in autocommit
    limit = max(1, int(timeout_ms))
    cursor.execute("SET TRANSACTION READ ONLY")
    cursor.execute(f"SET LOCAL lock_timeout = {max(1, limit // 2)}")
    cursor.execute(f"SET LOCAL statement_timeout = {limit}")


def _fence_sqlite(dialect: Any, connection: Any, cursor: Any, timeout_ms: float) -> None:
    """Let nothing be written, and wait for no lock longer than that.

    A libSQL server takes no such settings; ``EXPLAIN QUERY PLAN`` runs nothing in any case.
    """
    for pragma in ("query_only = 1", f"busy_timeout = {max(1, int(timeout_ms))}"):
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except Exception:
            if dialect.driver not in _SERVED:
                raise
    watch_steps = getattr(connection, "set_progress_handler", None)
    if watch_steps is not None:
        end = monotonic() + timeout_ms / 1000
        watch_steps(lambda: monotonic() > end, _STEPS)


def _fence_mysql(dialect: Any, _connection: Any, cursor: Any, timeout_ms: float) -> None:
    seconds = timeout_ms / 1000
    if getattr(dialect, "is_mariadb", False):
        cursor.execute(f"SET SESSION max_statement_time = {max(0.001, seconds):.3f}")
    else:
        cursor.execute(f"SET SESSION max_execution_time = {max(1, int(timeout_ms))}")
    cursor.execute(f"SET SESSION lock_wait_timeout = {max(1, int(seconds))}")
    cursor.execute("START TRANSACTION READ ONLY")


_Fence = Callable[[Any, Any, Any, float], None]
_FENCES: Final[Mapping[str, _Fence]] = {
    "postgresql": _fence_postgresql,
    "sqlite": _fence_sqlite,
    "libsql": _fence_sqlite,
    "mysql": _fence_mysql,
    "mariadb": _fence_mysql,
}
