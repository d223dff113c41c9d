"""The engines that the shared suite runs on, each with its real database behind it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import greenlet_spawn

from otel_dbevents.events import Event
from otel_dbevents.sources.engine import EngineSource
from tests.services.process import wait_until

DRIVERS = (
    "pysqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg", "pymysql", "asyncmy",
)  # fmt: skip
SERVERS = {
    "psycopg": "postgresql",
    "psycopg_async": "postgresql",
    "asyncpg": "postgresql",
    "pymysql": "mariadb",
    "asyncmy": "mariadb",
}
"""The fixture of the server behind each driver."""
_SCHEMES = {
    "psycopg": "postgresql+psycopg",
    "psycopg_async": "postgresql+psycopg",
    "asyncpg": "postgresql+asyncpg",
    # As most applications write it: the URL does not say that it is MariaDB.
    "pymysql": "mysql+pymysql",
    "asyncmy": "mysql+asyncmy",
}
_SESSIONS = {
    "postgresql": (
        "SELECT pg_backend_pid()",
        # It waits for the end: what pg_stat_activity says stays the same in a transaction.
        "SELECT pg_terminate_backend(:session, 60000)",
        "SELECT count(*) FROM pg_stat_activity WHERE pid = :session",
    ),
    "mariadb": (
        "SELECT connection_id()",
        "KILL :session",
        "SELECT count(*) FROM information_schema.processlist WHERE id = :session",
    ),
}
"""How each server is asked for a session's number, to end it, and whether it is still there."""
_ASYNC = ("aiosqlite", "psycopg_async", "asyncpg", "asyncmy")


@dataclass
class Told:
    """What a source told, with the contexts, in order."""

    events: list[Event] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def __call__(self, told: Event, context: Any) -> None:
        self.events.append(told)
        self.contexts.append(context)

    def names(self) -> list[str]:
        return [told.event_type for told in self.events]

    def of(self, kind: type) -> list[Any]:
        return [told for told in self.events if isinstance(told, kind)]

    def one(self, kind: type) -> Any:
        (found,) = self.of(kind)
        return found

    def forget(self) -> None:
        self.events.clear()
        self.contexts.clear()


@dataclass
class Case:
    """A driver with a fresh database. `run` calls a plain function in the driver's way."""

    driver: str
    url: str
    is_async: bool
    system: str
    namespace: str
    loop: asyncio.AbstractEventLoop | None = None
    engines: list[Any] = field(default_factory=list)

    def engine(self, **options: Any) -> Engine:
        made = self.make(self.url, **options)
        if self.system == "sqlite":
            event.listen(made, "connect", _enforce_foreign_keys)
        return made

    def make(self, url: str, **options: Any) -> Engine:
        if self.is_async:
            # the pool that aiosqlite has by default since SQLAlchemy 2.0.38
            options.setdefault("poolclass", AsyncAdaptedQueuePool)
            found = create_async_engine(url, **options)
            self.engines.append(found)
            return found.sync_engine
        engine = create_engine(url, **options)
        self.engines.append(engine)
        return engine

    def run(self, act: Callable[..., Any], *arguments: Any) -> Any:
        if self.loop is None:
            return act(*arguments)
        return self.loop.run_until_complete(greenlet_spawn(act, *arguments))

    def lose(self, victim: Connection, other: Connection) -> None:
        """Let the server end the victim's session, and wait until it has."""
        self.end(self.session(victim), other)

    def session(self, connection: Connection) -> int:
        """Return the number that the server knows a connection by."""
        number: int = connection.scalar(text(_SESSIONS[self.system][0]))
        return number

    def end(self, session: int, other: Connection) -> None:
        """Let the server end a session, and wait until it has."""
        _, end, there = _SESSIONS[self.system]
        which = {"session": session}
        other.execute(text(end), which)
        wait_until(lambda: not other.scalar(text(there), which))

    def close(self) -> None:
        for engine in self.engines:
            self.run(getattr(engine, "sync_engine", engine).dispose)
        if self.loop is not None:
            for thread in threading.enumerate():
                if "_connection_worker_thread" in thread.name:  # aiosqlite's, which need the loop
                    self.loop.run_until_complete(asyncio.to_thread(thread.join, 5))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


def _enforce_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite(driver: str, path: Path) -> Case:
    prefix = "sqlite" if driver == "pysqlite" else "sqlite+aiosqlite"
    return Case(driver, f"{prefix}:///{path}", driver in _ASYNC, "sqlite", path.name)


@contextmanager
def case_of(request: pytest.FixtureRequest, driver: str, tmp_path: Path) -> Iterator[Case]:
    """Make a driver's case with an empty database of its own."""
    if "sqlite" in driver:
        made = _sqlite(driver, tmp_path / "shop.db")
    else:
        server = request.getfixturevalue(SERVERS[driver])
        name = server.database()
        url = server.url(name, _SCHEMES[driver])
        made = Case(driver, url, driver in _ASYNC, SERVERS[driver], name)
    if made.is_async:
        made.loop = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=DRIVERS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Each driver in turn, with an empty database of its own."""
    with case_of(request, request.param, tmp_path) as made:
        yield made


@pytest.fixture
def told() -> Told:
    """What the source told."""
    return Told()


@pytest.fixture
def source(told: Told) -> Iterator[EngineSource]:
    """A source that listens to every engine until the test ends."""
    made = EngineSource(told)
    made.attach()
    yield made
    made.detach()
