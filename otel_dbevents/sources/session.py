"""A session of our own with an engine's database: none of the application's connections is taken.

It is made as the engine's pool makes its own (same arguments, same listeners), by a pool that keeps
nothing. The driver is called directly, so that nothing of ours listens. All of this blocks: it is
not for an application's thread.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn

T = TypeVar("T")
Renew: TypeAlias = Callable[[float], None]
"""Gives so many seconds more, from now on."""
_Creator: TypeAlias = Any
"""What a pool makes its connections with; it takes the connection's record."""


def within(engine: Engine, seconds: float, work: Callable[[Renew], T]) -> T:
    """Return what ``work`` returns, which uses sessions of this engine.

    An async engine's driver runs on an event loop that lives as long as this call, and is stopped
    by `TimeoutError` when the time is up. A sync driver is stopped by nobody.
    """
    if not engine.dialect.is_async:
        return work(_no_need)

    async def run() -> T:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds) as patience:
            result: T = await greenlet_spawn(
                work, lambda more: patience.reschedule(loop.time() + more)
            )
            return result

    return asyncio.run(run())


def open_session(engine: Engine, connect_s: float | None = None) -> Any:
    """Return a connection of SQLAlchemy's pools, which is the caller's to close.

    ``connect_s``: how many seconds the driver may take to connect and, where it knows no other
    limit, to answer; None: as the application has it. A driver that has no such argument, and one
    that the application's own ``creator`` calls, takes as long as it takes.
    """
    dialect, pool = engine.dialect, engine.pool
    creator: _Creator = pool._creator
    if connect_s is not None:
        creator = _limited(creator, dialect, connect_s)
    own = NullPool(creator, dialect=dialect, reset_on_return=None, _dispatch=pool.dispatch)
    return own.connect()


def ping(engine: Engine, connection: Any) -> None:
    """Have a driver's connection answer once; raises what the driver raises.

    It is the dialect's own ping. An SQLite file is read, which a query without a table does not do.
    """
    dialect = engine.dialect
    if dialect.name == "sqlite":
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA schema_version")
            cursor.fetchone()
        finally:
            cursor.close()
        return
    # The class's: what stands on the instance is our own, and tells the application's pings.
    if not type(dialect).do_ping(dialect, connection):
        raise ConnectionError("the connection was lost")


def begin_nothing(engine: Engine, connection: Any) -> None:
    """Have the next statement on a driver's connection begin no transaction, where that costs."""
    if engine.dialect.name == "postgresql":
        connection.autocommit = True


def arguments_of(creator: Any) -> tuple[list[Any], Mapping[str, Any]] | None:
    """Return what SQLAlchemy's own creator calls the driver with; None of any other creator."""
    names = getattr(getattr(creator, "__code__", None), "co_freevars", ())
    cells = getattr(creator, "__closure__", None) or ()
    try:
        known = {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    except ValueError:  # one is not filled yet
        return None
    positional, named = known.get("cargs_tup", known.get("cargs")), known.get("cparams")
    if not isinstance(positional, list | tuple) or not isinstance(named, Mapping):
        return None
    return list(positional), named


def _limited(creator: _Creator, dialect: Any, seconds: float) -> _Creator:
    """Return a creator that has the driver wait no longer than that.

    What SQLAlchemy's own creator does is done anew, with one argument more: it takes none.
    """
    limits, found = _LIMITS.get(dialect.driver), arguments_of(creator)
    if limits is None or found is None:
        return creator
    arguments, parameters = found

    def connect(record: Any) -> Any:
        positional, named = list(arguments), dict(parameters)
        for name, limit in limits(seconds).items():
            named[name] = _lower(named.get(name), limit)
        for listener in dialect.dispatch.do_connect if dialect._has_events else ():
            made = listener(dialect, record, positional, named)
            if made is not None:
                return made
        return dialect.connect(*positional, **named)

    return connect


def _lower(given: Any, limit: float) -> Any:
    """Return the application's own limit, where it is lower. 0 is none."""
    try:
        return given if 0 < float(given) < limit else limit
    except (TypeError, ValueError):
        return limit


def _no_need(_seconds: float) -> None:
    """Give no more time where none was set."""


def _whole(*names: str) -> Callable[[float], dict[str, float]]:
    return lambda seconds: dict.fromkeys(names, math.ceil(seconds))


def _exact(*names: str) -> Callable[[float], dict[str, float]]:
    return lambda seconds: dict.fromkeys(names, seconds)


_LIMITS: Final[Mapping[str, Callable[[float], dict[str, float]]]] = {
    "psycopg": _whole("connect_timeout"),
    "psycopg2": _whole("connect_timeout"),
    "psycopg2cffi": _whole("connect_timeout"),
    "pg8000": _exact("timeout"),
    "pymysql": _exact("connect_timeout", "read_timeout", "write_timeout"),
    "mysqldb": _whole("connect_timeout", "read_timeout", "write_timeout"),
    "mysqlconnector": _whole("connection_timeout"),
    "mariadbconnector": _whole("connect_timeout", "read_timeout", "write_timeout"),
    "pysqlite": _exact("timeout"),
    "pyodbc": _whole("timeout"),
    "pymssql": _whole("login_timeout", "timeout"),
    "oracledb": _exact("tcp_connect_timeout"),
}
"""By ``dialect.driver``: the driver's arguments that limit how long it waits."""
