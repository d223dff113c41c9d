"""The probe of a Redis: PING on a connection of its own, made as the client's pool makes its own.

The package ``redis`` is not imported here: who has a client has it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from otel_dbevents.events import Database, DatabaseType, Environment
from otel_dbevents.health.round import LATER_S, Round


def database_of(client: Any, environment: Environment) -> Database:
    """Return what the client's own arguments say, without asking the server."""
    said = client.connection_pool.connection_kwargs
    host = str(said.get("path") or said.get("host") or "localhost")
    port = 0 if said.get("path") else int(said.get("port") or 6379)
    namespace = str(said.get("db") or 0)
    where = f"{host}:{port}" if port else host
    return Database(environment, DatabaseType.REDIS, namespace, host, port, f"{where}/{namespace}")


class RedisProbe:
    """Asks one."""

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool

    def ask(self, stages: Round) -> None:
        """Connect, ask, close."""
        limit = stages.limit_s + LATER_S
        options = dict(self._pool.connection_kwargs)
        for name in ("socket_timeout", "socket_connect_timeout"):
            options[name] = limit
        for name in ("retry", "retry_on_error", "retry_on_timeout", "health_check_interval"):
            options.pop(name, None)
        connection = self._pool.connection_class(**options)
        if asyncio.iscoroutinefunction(connection.connect):
            asyncio.run(self._ask_async(connection, stages, limit))
        else:
            self._ask(connection, stages)

    @staticmethod
    def _ask(connection: Any, stages: Round) -> None:
        try:
            connection.connect()
            stages.connected()
            connection.send_command("PING", check_health=False)
            with _allowing():
                connection.read_response()
            stages.answered()
        finally:
            connection.disconnect()

    @staticmethod
    async def _ask_async(connection: Any, stages: Round, limit: float) -> None:
        try:
            async with asyncio.timeout(limit):
                await connection.connect()
            stages.connected()
            async with asyncio.timeout(limit):
                await connection.send_command("PING", check_health=False)
                with _allowing():
                    await connection.read_response()
            stages.answered()
        finally:
            await connection.disconnect(nowait=True)


@contextmanager
def _allowing() -> Iterator[None]:
    """Take it for an answer that this user may not ask."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "NoPermissionError":
            raise
