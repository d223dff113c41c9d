"""The engines that the shared suite runs on, each with its real database behind it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool, base
from sqlalchemy.util import greenlet_spawn

from otel_dbevents.events import Event
from otel_dbevents.sources.engine import EngineSource
from tests.services.process import wait_until


@dataclass(frozen=True)
class Driver:
    """What is particular to a driver, for the scenes to expect."""

    system: str
    scheme: str
    is_async: bool = False
    server: str = ""
    """The fixture of its server; empty for a file."""
    can: frozenset[str] = frozenset()
    """What a scene may ask for by ``@pytest.mark.needs``."""
    no_column: str = ""
    """Its code for a column that is not there."""
    commit_codes: tuple[str, ...] = ()
    """Its code for a COMMIT that fails: a foreign key that refers to nothing, or a lost server."""
    unreachable: str = "unable to open database file"
    """What is told when there is no such file, or nobody listens."""
    errors: tuple[type[Exception], ...] = (exc.DBAPIError,)
    """What a statement that fails raises in the application."""

    def code(self, error_type: str) -> str:
        """Return the status code that goes with an error's type: Turso has none, only types."""
        return "" if "." in error_type else error_type


def _can(*names: str) -> frozenset[str]:
    return frozenset(names)


_SQLITE = Driver(
    "sqlite",
    "sqlite",
    can=_can("autocommit", "savepoint", "second_commit", "locks"),
    no_column="SQLITE_ERROR",
    commit_codes=("SQLITE_CONSTRAINT_FOREIGNKEY",),
)
_POSTGRESQL = Driver(
    "postgresql",
    "postgresql+psycopg",
    server="postgresql",
    can=_can("autocommit", "savepoint", "sessions", "read_transaction", "locks", "serializable"),
    no_column="42703",
    commit_codes=("23503",),
    unreachable="refused",
)
_MARIADB = Driver(
    "mariadb",
    # As most applications write it: the URL does not say that it is MariaDB.
    "mysql+pymysql",
    server="mariadb",
    can=_can("autocommit", "savepoint", "sessions", "read_transaction", "two_phase", "locks")
    | {"counts_statements"},
    no_column="1054",
    commit_codes=("2006", "2013"),
    unreachable="refused",
)
_LIBSQL = replace(
    _SQLITE,
    system="libsql",
    scheme="sqlite+libsql",
    can=_can("savepoint", "second_commit", "detach"),
    errors=(ValueError,),
    unreachable="[sqlite_cantopen]",
)

DRIVERS = {
    "pysqlite": replace(_SQLITE, can=_SQLITE.can | {"detach"}),
    "aiosqlite": replace(_SQLITE, scheme="sqlite+aiosqlite", is_async=True),
    "psycopg": replace(_POSTGRESQL, can=_POSTGRESQL.can | {"two_phase", "detach"}),
    "psycopg_async": replace(_POSTGRESQL, is_async=True, can=_POSTGRESQL.can | {"two_phase"}),
    "asyncpg": replace(_POSTGRESQL, scheme="postgresql+asyncpg", is_async=True),
    "pymysql": replace(_MARIADB, can=_MARIADB.can | {"detach"}),
    "asyncmy": replace(_MARIADB, scheme="mysql+asyncmy", is_async=True),
    "libsql_file": _LIBSQL,
    "libsql_remote": replace(
        _LIBSQL,
        server="sqld",
        no_column="SQL_INPUT_ERROR",
        commit_codes=("SQLITE_CONSTRAINT",),
        unreachable="refused",
        can=_can("savepoint", "detach"),
    ),
    "libsql_replica": replace(
        _LIBSQL, server="sqld", can=_can("second_commit", "detach"), unreachable="refused"
    ),
    "turso": replace(
        _SQLITE,
        system="turso",
        scheme="sqlite+turso",
        can=_can("savepoint", "second_commit", "detach"),
        no_column="turso.lib.DatabaseError",
        commit_codes=("turso.lib.IntegrityError",),
    ),
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
PLACES: tuple[tuple[type, str], ...] = (
    (Engine, "raw_connection"),
    (base._ConnectionRecord, "invalidate"),
    (base._ConnectionFairy, "detach"),
)
"""The methods of SQLAlchemy's classes that ours take the place of."""
_NEWEST = ("turso",)
_NOBODY = "http://127.0.0.1:1"


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
    namespace: str
    connect_args: dict[str, Any] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None
    engines: list[Any] = field(default_factory=list)

    @property
    def about(self) -> Driver:
        return DRIVERS[self.driver]

    @property
    def system(self) -> str:
        return self.about.system

    @property
    def is_async(self) -> bool:
        return self.about.is_async

    def can(self, what: str) -> bool:
        return what in self.about.can

    def engine(self, **options: Any) -> Engine:
        made = self.make(self.url, **options)
        if self.about.scheme.startswith("sqlite"):
            event.listen(made, "connect", _enforce_foreign_keys)
        return made

    def make(self, url: str | URL, **options: Any) -> Engine:
        if self.is_async:
            # the pool that aiosqlite has by default since SQLAlchemy 2.0.38
            options.setdefault("poolclass", AsyncAdaptedQueuePool)
            found = create_async_engine(url, **options)
            self.engines.append(found)
            return found.sync_engine
        # the dialect of libSQL takes another one for a server
        options.setdefault("poolclass", QueuePool)
        options.setdefault("connect_args", self.connect_args)
        engine = create_engine(url, **options)
        self.engines.append(engine)
        return engine

    def unreachable(self) -> Engine:
        """Return an engine with no database behind it, and a password in the URL if it may be."""
        url = make_url(self.url)
        if url.host:
            return self.make(url.set(username="bob", password="hunter2", port=1))
        if self.connect_args:
            return self.make(url, connect_args={**self.connect_args, "sync_url": _NOBODY})
        return self.make(url.set(database=str(Path(url.database or "").parent / "no" / "shop.db")))

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


@contextmanager
def case_of(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Case]:
    """Make a driver's case with an empty database of its own."""
    about = DRIVERS[name]
    server = request.getfixturevalue(about.server) if about.server else None
    if about.server in _SESSIONS:
        with server.lent() as database:
            yield from _closed(Case(name, server.url(database, about.scheme), database))
        return
    if name == "libsql_remote":
        made = Case(name, server.url(about.scheme), "")
    else:
        path = tmp_path / "shop.db"
        made = Case(name, f"{about.scheme}:///{path}", path.name)
        if server is not None:
            made.connect_args = {"sync_url": server.url("http"), "auth_token": ""}
    yield from _closed(made)


def _closed(made: Case) -> Iterator[Case]:
    """Give it with a loop, if it needs one, and close it."""
    if made.is_async:
        made.loop = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.newest) if name in _NEWEST else name
        for name in DRIVERS
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Each driver in turn, with an empty database of its own."""
    with case_of(request, request.param, tmp_path) as made:
        yield made


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the scenes that a driver cannot play: they are deselected, not skipped."""
    left_out = [item for item in items if not _can_play(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _can_play(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    driver = None if parameters is None else parameters.params.get("case")
    if not isinstance(driver, str):  # it has no drivers, or calls something else a case
        return True

    def marked(mark: str) -> set[str]:
        names = {name for found in item.iter_markers(mark) for name in found.args}
        if unknown := names - _known(mark):
            raise pytest.UsageError(f"{item.nodeid}: no driver is or can {', '.join(unknown)}")
        return names

    only = marked("only")
    return (
        marked("needs") <= _abilities(driver)
        and not marked("but_not") & _kinds(driver)
        and (not only or bool(only & _kinds(driver)))
    )


def _abilities(driver: str) -> set[str]:
    about = DRIVERS[driver]
    return set(about.can) | ({"cancel"} if about.is_async else set())


def _kinds(driver: str) -> set[str]:
    about = DRIVERS[driver]
    return {driver, about.system} | ({"async"} if about.is_async else set())


def _known(mark: str) -> set[str]:
    of = _abilities if mark == "needs" else _kinds
    return {name for driver in DRIVERS for name in of(driver)}


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
