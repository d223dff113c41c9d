"""What can be checked: engines, clients of libSQL, clients of Redis."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy.engine import Engine

from otel_dbevents.events import Database, Environment, PoolReading
from otel_dbevents.health.engines import probe_of
from otel_dbevents.health.round import Probe
from otel_dbevents.sources.database import database_of
from otel_dbevents.sources.finding import watch_of
from otel_dbevents.sources.libsql.client import async_client, database_of_client, is_client
from otel_dbevents.sources.pool.places import read_unwatched


class Target(NamedTuple):
    """Something to be checked."""

    thing: Any
    """What it is known by: the sync engine or the client."""
    database: Database
    probe: Probe


def target_of(thing: object, environment: Environment) -> Target:
    """Return what the user means. Raises `TypeError` for what cannot be checked."""
    engine = getattr(thing, "sync_engine", thing)
    if isinstance(engine, Engine):
        watch = watch_of(engine)
        database = database_of(engine, environment) if watch is None else watch.database
        return Target(engine, database, probe_of(engine))
    if is_client(thing):
        client = async_client(thing)
        return Target(client, database_of_client(client, environment), _client_probe(client))
    if _is_redis(thing):
        from otel_dbevents.health import redis

        database = redis.database_of(thing, environment)
        return Target(thing, database, redis.RedisProbe(thing))
    raise TypeError(
        "an Engine or AsyncEngine of SQLAlchemy, a client of libsql_client or a client of redis "
        f"can be checked, got {type(thing).__name__}"
    )


def targets_of(things: Iterable[object], environment: Environment) -> list[Target]:
    """Return what of these a second connection tells something of.

    A database in memory is its connection's own.
    """
    found = [target_of(thing, environment) for thing in things]
    return [target for target in found if target.database.namespace != ":memory:"]


def pool_of(target: Target) -> PoolReading | None:
    """Return what an engine's pool says of itself; None of a client."""
    engine = target.thing
    return read_unwatched(engine, target.database) if isinstance(engine, Engine) else None


def _is_redis(thing: object) -> bool:
    """Whether this is a client of redis-py, sync or asyncio; asked without importing it."""
    is_theirs = any(
        kind.__module__.partition(".")[0] == "redis" and kind.__name__ == "Redis"
        for kind in type(thing).__mro__
    )
    return is_theirs and hasattr(thing, "connection_pool")


def _client_probe(client: Any) -> Probe:
    from otel_dbevents.health.files import SqliteFile
    from otel_dbevents.health.hrana import Hrana

    path = getattr(client, "_path", "")
    if path:
        return SqliteFile(path)
    headers = getattr(getattr(client, "_session", None), "headers", {})
    said = str(headers.get("authorization", "")).removeprefix("Bearer ")
    given = getattr(client, "_auth_token", None) or said
    return Hrana(client._url, "" if given == str(None) else given)
