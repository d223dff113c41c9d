"""Places: how many connections a pool has open, how many it may have, and who reads that."""

from typing import Any, Final

from sqlalchemy.engine import Engine
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from otel_dbevents.events import Database, PoolReading
from otel_dbevents.sources.watch import Watch

UNSHARED: Final = frozenset({QueuePool, NullPool, AsyncAdaptedQueuePool})
"""Pools that are no `StaticPool`: asking that of their class is slower than to find them here."""


def read_engine(watch: Watch) -> PoolReading | None:
    """Return the pool's numbers now; None when the engine is gone."""
    engine: Engine | None = watch.engine()
    return None if engine is None else read_pool(watch, engine.pool)


def read_pool(watch: Watch, pool: Pool) -> PoolReading:
    """Return the numbers of now: what is open is read from SQLAlchemy's own records.

    The pool's own counters would do for no pool but one: they count places, also those without
    a connection, and forget at ``dispose()`` what is still out.
    """
    there = open_records(watch)
    used = sum(record.in_use for record in there)
    if isinstance(pool, StaticPool) and there and not used:
        used = int(any(proxy.dbapi_connection is not None for proxy in watch.proxies.all()))
    most, idle_most = _limits(pool)
    return PoolReading(
        watch.database, len(there) - used, used, len(watch.pending), most, idle_most, 0
    )


def read_unwatched(engine: Engine, database: Database) -> PoolReading | None:
    """Return the numbers of an engine that is not under watch, as its pool counts them.

    None where the pool does not count.
    """
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return None
    most, idle_most = _limits(pool)
    return PoolReading(database, pool.checkedin(), pool.checkedout(), 0, most, idle_most, 0)


def pool_of(record: Any) -> Pool:
    """Return the pool that a record belongs to, which the engine may have replaced since."""
    found: Pool = record._ConnectionRecord__pool
    return found


def open_records(watch: Watch) -> list[Any]:
    """Return SQLAlchemy's records of the connections that are open."""
    return [each for each in watch.records.all() if each.dbapi_connection is not None]


def _limits(pool: Pool) -> tuple[int, int]:
    """Return how many connections may be open, and how many idle; -1: as many as you like."""
    if isinstance(pool, QueuePool):
        size, extra = pool.size(), pool._max_overflow
        return -1 if extra < 0 or not size else size + extra, size or -1
    if isinstance(pool, SingletonThreadPool):
        return pool.size, pool.size
    if isinstance(pool, StaticPool | AssertionPool):
        return 1, 1
    return -1, 0 if isinstance(pool, NullPool) else -1


def size_of(pool: Pool) -> int:
    """Return how many connections the pool keeps at most; 0 when it keeps none."""
    size = getattr(pool, "size", 0)
    if callable(size):
        size = size()
    if isinstance(pool, StaticPool | AssertionPool):
        return 1
    return max(0, size) if isinstance(size, int) else 0
