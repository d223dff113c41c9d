"""A pool that may be broken: none of its older connections is given out again."""

from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool


def retire(engine: Engine, before_s: float) -> bool:
    """Have the pool close each connection that was opened before a time, when it is next asked for.

    It is what SQLAlchemy does with a pool when a query finds its connection broken, and no more:
    a connection that is out goes on working and is replaced once it has come back, the pool's
    limits hold, and an async driver's connections are closed on the event loop that they belong
    to. ``before_s`` is in seconds since the epoch. Blocks nowhere, and calls no driver.

    False: nothing was done, as the pool is of a kind that keeps nothing, or one connection for
    good, which may be all there is of a database in memory.
    """
    pool: Any = engine.pool
    if not isinstance(pool, QueuePool):
        return False
    pool._invalidate_time = max(pool._invalidate_time, before_s)
    return True
