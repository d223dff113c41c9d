"""Everything that can be checked, behind a proxy, and how each asks its database."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine


@dataclass
class Kind:
    """A way to a database. ``question`` is in the request by which it is asked."""

    server: str
    make: Callable[[Any, int], Any]
    """Makes the target, of the server and the port that it is to be reached at."""
    question: bytes


def _postgresql(driver: str, *, is_async: bool = False) -> Callable[[Any, int], Any]:
    def make(server: Any, port: int) -> Any:
        url = make_url(server.url("postgres", f"postgresql+{driver}")).set(port=port)
        return create_async_engine(url) if is_async else create_engine(url)

    return make


def _mariadb(driver: str, *, is_async: bool = False) -> Callable[[Any, int], Any]:
    def make(server: Any, port: int) -> Any:
        url = make_url(server.url("", f"mysql+{driver}")).set(port=port)
        return create_async_engine(url) if is_async else create_engine(url)

    return make


def _redis(*, is_async: bool = False) -> Callable[[Any, int], Any]:
    def make(server: Any, port: int) -> Any:
        import redis
        import redis.asyncio

        kind = redis.asyncio.Redis if is_async else redis.Redis
        return kind(port=port, password=server.password)

    return make


def _libsql_client(scheme: str) -> Callable[[Any, int], Any]:
    def make(_server: Any, port: int) -> Any:
        import libsql_client

        return libsql_client.create_client_sync(f"{scheme}://127.0.0.1:{port}")

    return make


_SELECT = b'"sql": "SELECT 1"'
KINDS = {
    "psycopg": Kind("postgresql", _postgresql("psycopg"), b";\0"),
    "psycopg_async": Kind("postgresql", _postgresql("psycopg", is_async=True), b";\0"),
    "asyncpg": Kind("postgresql", _postgresql("asyncpg", is_async=True), b";\0"),
    "pymysql": Kind("mariadb", _mariadb("pymysql"), b"\1\0\0\0\x0e"),
    "asyncmy": Kind("mariadb", _mariadb("asyncmy", is_async=True), b"\1\0\0\0\x0e"),
    "redis": Kind("redis", _redis(), b"PING"),
    "redis_async": Kind("redis", _redis(is_async=True), b"PING"),
    "libsql": Kind(
        "sqld", lambda _, port: create_engine(f"sqlite+libsql://127.0.0.1:{port}"), _SELECT
    ),
    "libsql_client": Kind("sqld", _libsql_client("http"), _SELECT),
    "libsql_client_ws": Kind("sqld", _libsql_client("ws"), _SELECT),
}


def close(target: Any) -> None:
    """Let go of a target's connections."""
    if hasattr(target, "sync_engine"):
        asyncio.run(target.dispose())
    elif hasattr(target, "dispose"):
        target.dispose()
    else:
        closing = getattr(target, "aclose", target.close)()
        if asyncio.iscoroutine(closing):
            asyncio.run(_wait_for(closing))


async def _wait_for(closing: Any) -> None:
    await closing
