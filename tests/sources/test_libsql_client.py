"""What the package ``libsql_client`` did is told: each of its clients, on a file and a real server.

The scenes are written once, for the async client; the sync client is played through an adapter.
"""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libsql_client
import pytest
from libsql_client.hrana.client import HranaClient, HranaTransaction
from libsql_client.http import HttpClient
from libsql_client.sqlite3_utils import Sqlite3Client, Sqlite3Transaction
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine

from otel_dbevents.events import (
    CommitFailed,
    ConnectionClosed,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseType,
    QueryExecuted,
    QueryFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.libsql.client import ClientSource
from otel_dbevents.sources.watch import Notice
from tests.services.sqld import Sqld
from tests.services.sqld import sqld as run_sqld
from tests.sources.engines import Told

KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEADEbp0Q8F+YcapX0VXKt+CWjN8n/uvL4vf0J+xlwn2g0=
-----END PUBLIC KEY-----
"""
LibsqlError = libsql_client.LibsqlError
Scene = Callable[[Any], Awaitable[Any]]


class InSync:
    """The sync client or one of its transactions, so that an async scene can play on it."""

    def __init__(self, played: Any) -> None:
        self.played = played

    async def execute(self, *arguments: Any) -> Any:
        return self.played.execute(*arguments)

    async def batch(self, statements: list[Any]) -> Any:
        return self.played.batch(statements)

    async def commit(self) -> None:
        self.played.commit()

    async def rollback(self) -> None:
        self.played.rollback()

    def transaction(self) -> "InSync":
        return InSync(self.played.transaction())

    def close(self) -> None:
        self.played.close()


@dataclass
class Shop:
    """A kind of client and its database, with one table."""

    scheme: str
    is_async: bool
    url: str
    sqld: Sqld | None

    @asynccontextmanager
    async def client(self, url: str = "") -> Any:
        if self.is_async:
            async with libsql_client.create_client(url or self.url) as made:
                yield made
        else:
            with libsql_client.create_client_sync(url or self.url) as made:
                yield InSync(made)

    def play(self, scene: Scene) -> Any:
        """Play a scene on a client of its own."""

        async def played() -> Any:
            async with self.client() as client:
                return await scene(client)

        return asyncio.run(played())


def shops(*schemes: str) -> pytest.MarkDecorator:
    """Play on these clients, each of them async and sync."""
    kinds = [f"{scheme} {kind}" for scheme in schemes for kind in ("async", "sync")]
    return pytest.mark.parametrize("shop", kinds, indirect=True)


every_client = shops("file", "http", "ws")
with_transactions = shops("file", "ws")  # there are none over HTTP
with_server = shops("http", "ws")


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    scheme, kind = request.param.split()
    sqld = None if scheme == "file" else request.getfixturevalue("sqld")
    url = f"file:{tmp_path}/shop.db" if sqld is None else sqld.url(scheme)
    made = Shop(scheme, kind == "async", url, sqld)

    async def fill(client: Any) -> None:
        await client.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")

    made.play(fill)
    return made


@pytest.fixture
def listening(shop: Shop, told: Told) -> Iterator[ClientSource]:
    """A source that listens to every client until the test ends."""
    source = ClientSource(told, notice=Notice(slow_ns=1))
    source.attach()
    yield source
    source.detach()


async def add(client: Any, *names: str) -> None:
    for name in names:
        await client.execute("INSERT INTO users (name) VALUES (?)", [name])


@every_client
def test_a_client_is_told_from_its_first_answer_to_its_close(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await client.execute("SELECT 1")

    shop.play(scene)
    assert told.names() == ["DatabaseConnectionEstablished", "QueryExecuted", "ConnectionClosed"]
    database = told.one(QueryExecuted).database
    if shop.sqld is None:  # it is the standard library's SQLite
        assert (database.system_name, database.namespace) == (DatabaseType.SQLITE, "shop.db")
        assert database.location
    else:
        assert database.system_name is DatabaseType.LIBSQL
        assert (database.server_address, database.server_port) == ("127.0.0.1", shop.sqld.port)
    assert told.one(DatabaseConnectionEstablished).database == database
    assert told.one(ConnectionClosed).duration_ns >= 0


@every_client
def test_a_statement_tells_its_rows(shop: Shop, told: Told, listening: ClientSource) -> None:
    async def scene(client: Any) -> None:
        await add(client, "ada", "hunter2")
        await client.execute(libsql_client.Statement("UPDATE users SET name = name || 'x'"))
        assert len(await client.execute(("SELECT * FROM users WHERE name <> ?", ["zoe"]))) == 2
        await client.execute("SELECT 'hunter2'")

    shop.play(scene)
    one, two, changed, read, literal = told.of(QueryExecuted)
    assert (one.affected_rows, two.affected_rows, changed.affected_rows) == (1, 1, 2)
    assert (one.returned_rows, read.returned_rows, read.affected_rows) == (-1, 2, -1)
    assert read.statement.query_summary == "SELECT users"
    assert literal.statement.query_text == "SELECT ?"
    assert one.duration_ns > 0
    assert not any("hunter2" in str(event.to_dict()) for event in told.events)
    assert not told.of(TransactionCommitted)


@every_client
def test_a_statement_that_fails_tells_its_code_and_no_value(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await add(client, "ada")
        with pytest.raises(LibsqlError):
            await client.execute("SELECT nosuch FROM users WHERE name = 'hunter2'")
        with pytest.raises(LibsqlError):
            await add(client, "ada")

    shop.play(scene)
    wrong, twice = told.of(QueryFailed)
    local = shop.sqld is None
    assert wrong.failure.error_type == ("SQLITE_ERROR" if local else "SQL_INPUT_ERROR")
    assert twice.failure.error_type == (
        "SQLITE_CONSTRAINT_UNIQUE" if local else "SQLITE_CONSTRAINT"
    )
    assert wrong.failure.status_code == wrong.failure.error_type
    assert wrong.failure.exception_type == "libsql_client.client.LibsqlError"
    assert not wrong.failure.is_disconnect
    assert not any("hunter2" in str(event.to_dict()) for event in told.events)


@every_client
def test_a_batch_is_one_query_and_a_commit_of_unknown_duration(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await client.batch(
            [
                ("INSERT INTO users (name) VALUES (?)", ["ada"]),
                ("INSERT INTO users (name) VALUES (?)", ["bob"]),
                "SELECT * FROM users",
            ]
        )
        await client.batch([("UPDATE users SET name = ? WHERE id = ?", ["x", 1])] * 2)
        await client.batch([])

    shop.play(scene)
    mixed, same = told.of(QueryExecuted)
    assert (mixed.batch_size, mixed.returned_rows, mixed.affected_rows) == (3, 2, 2)
    assert mixed.statement.query_text == (
        "INSERT INTO users (name) VALUES (?); SELECT * FROM users"
    )
    assert mixed.statement.query_summary == "INSERT users SELECT users"
    assert (same.batch_size, same.affected_rows) == (2, 2)
    assert same.statement.query_summary == "UPDATE users"
    committed, _ = told.of(TransactionCommitted)
    assert (committed.duration_ns, committed.statement_count) == (-1, 3)
    assert committed.transaction_ns >= mixed.duration_ns


@every_client
def test_a_batch_that_fails_is_one_failed_query_and_rolled_back(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> int:
        with pytest.raises(LibsqlError):
            await client.batch(["INSERT INTO users (name) VALUES ('ada')"] * 2)
        return len(await client.execute("SELECT * FROM users"))

    assert shop.play(scene) == 0
    failed = told.one(QueryFailed)
    assert failed.batch_size == 2
    assert failed.statement.query_text == "INSERT INTO users (name) VALUES (?)"
    rolled_back = told.one(TransactionRolledBack)
    assert (rolled_back.duration_ns, rolled_back.statement_count) == (-1, 2)
    assert not told.of(TransactionCommitted)


@shops("file")
def test_a_batch_of_many_different_statements_has_a_text_that_ends(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await client.batch([f"SELECT 1 AS column_{number}" for number in range(30)])
        await client.batch([f"INSERT INTO users (name) VALUES ('{n}')" for n in range(1000)])

    shop.play(scene)
    read, added = told.of(QueryExecuted)
    assert (read.batch_size, read.returned_rows) == (30, 30)
    assert read.statement.query_text.endswith("column_19; ...")
    assert (added.batch_size, added.affected_rows) == (1000, 1000)
    assert added.statement.query_text == "INSERT INTO users (name) VALUES (?); ..."
    assert added.statement.query_summary == "INSERT users"


@with_transactions
def test_a_transactions_end_is_told_as_it_was(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        transaction = client.transaction()
        await add(transaction, "ada", "bob")
        await transaction.commit()
        transaction = client.transaction()
        await add(transaction, "cy")
        await transaction.rollback()
        await transaction.rollback()
        transaction.close()
        transaction = client.transaction()
        await transaction.execute("SELECT * FROM users")
        await transaction.rollback()

    shop.play(scene)
    committed, rolled_back = told.one(TransactionCommitted), told.one(TransactionRolledBack)
    assert committed.statement_count == 2
    assert 0 < committed.duration_ns < committed.transaction_ns
    assert rolled_back.statement_count == 1
    assert rolled_back.duration_ns > 0
    assert told.one(TransactionReleased).statement_count == 1


@with_transactions
def test_closing_an_open_transaction_is_a_rollback_of_unknown_duration(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        transaction = client.transaction()
        await add(transaction, "ada")
        with pytest.raises(LibsqlError):
            await add(transaction, "ada")
        transaction.close()
        transaction = client.transaction()
        await transaction.execute("SELECT * FROM users")
        transaction.close()
        client.transaction().close()

    shop.play(scene)
    rolled_back = told.one(TransactionRolledBack)
    assert (rolled_back.duration_ns, rolled_back.statement_count) == (-1, 2)
    assert told.one(TransactionReleased).duration_ns == -1


@shops("file")
def test_a_commit_that_succeeds_at_the_second_try_is_told_as_both(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        other = sqlite3.connect(shop.url.removeprefix("file:"), isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM users").fetchall()  # keeps a lock
        transaction = client.transaction()
        await add(transaction, "ada")
        with pytest.raises(LibsqlError):
            await transaction.commit()
        other.close()
        await transaction.commit()

    shop.play(scene)
    assert told.one(CommitFailed).failure.error_type == "SQLITE_BUSY"
    assert told.one(TransactionCommitted).statement_count == 1
    assert not told.of(TransactionRolledBack)


@shops("file")
def test_the_rollback_after_a_failed_commit_belongs_to_it(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        other = sqlite3.connect(shop.url.removeprefix("file:"), isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM users").fetchall()
        transaction = client.transaction()
        await add(transaction, "ada")
        with pytest.raises(LibsqlError):
            await transaction.commit()
        transaction.close()
        other.close()

    shop.play(scene)
    assert told.one(CommitFailed)
    assert not told.of(TransactionRolledBack)


@shops("ws")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_end_that_the_server_did_not_live_to_see_has_failed(
    shop: Shop, told: Told, listening: ClientSource, end: str
) -> None:
    async def scene(client: Any) -> None:
        transaction = client.transaction()
        await add(transaction, "ada")
        shop.sqld.process.kill()
        await asyncio.sleep(0.1)
        with pytest.raises(Exception):  # noqa: B017, PT011 - aiohttp's or the package's
            await getattr(transaction, end)()
        transaction.close()

    shop.play(scene)
    assert len(told.of(CommitFailed if end == "commit" else RollbackFailed)) == 1
    assert not told.of(TransactionCommitted)
    assert not told.of(TransactionRolledBack)


@with_server
def test_a_server_that_is_not_there_is_told_until_it_is_back(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await client.execute("SELECT 1")
        shop.sqld.process.kill()
        for _ in range(3):  # the first may be lost on the way, the others reach nobody
            with pytest.raises(Exception):  # noqa: B017, PT011
                await client.batch(["SELECT 2"])
        shop.sqld.process.start()
        await client.execute("SELECT 3")

    shop.play(scene)
    failed = told.of(DatabaseConnectionFailed)
    assert [event.retry_count for event in failed] == list(range(len(failed)))
    assert len(failed) >= 2
    assert failed[-1].error_message == "ClientConnectorError: ECONNREFUSED"
    assert all(event.failure.is_disconnect for event in told.of(QueryFailed))
    assert len(failed) + len(told.of(QueryFailed)) == 3
    assert not told.of(TransactionRolledBack)  # nobody saw what became of it
    assert len(told.of(DatabaseConnectionEstablished)) == 2


@shops("file")
def test_a_file_that_cannot_be_opened_any_more_is_a_failed_connection(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        path = Path(shop.url.removeprefix("file:"))
        path.unlink()
        path.mkdir()
        with pytest.raises(sqlite3.OperationalError):
            await client.execute("SELECT 1")
        with pytest.raises(sqlite3.OperationalError):
            client.transaction()

    shop.play(scene)
    first, second = told.of(DatabaseConnectionFailed)
    assert "unable to open database file" in first.error_message
    assert (first.retry_count, second.retry_count) == (0, 1)
    assert not told.of(QueryFailed)


@pytest.fixture
def every_source(told: Told) -> Iterator[None]:
    """Sources that listen to every client and every engine until the test ends."""
    clients, engines = ClientSource(told), EngineSource(told)
    clients.attach()
    engines.attach()
    yield
    clients.detach()
    engines.detach()


def enter(url: str) -> None:
    if url.startswith("sqlite"):
        create_engine(url).connect()
    with libsql_client.create_client_sync(url) as client:
        client.execute("SELECT 1")


@pytest.mark.parametrize("scheme", ["http", "sqlite+libsql"])
def test_who_has_no_leave_to_enter_has_a_failed_connection(
    told: Told, every_source: None, tmp_path: Path, scheme: str
) -> None:
    with run_sqld(tmp_path, key=KEY) as server, pytest.raises((LibsqlError, ValueError)):
        enter(server.url(scheme))
    assert told.names() == ["DatabaseConnectionFailed"]
    assert "authentication failed" in told.one(DatabaseConnectionFailed).error_message


def test_over_a_websocket_the_refusal_may_come_after_the_query_was_sent(
    told: Told, every_source: None, tmp_path: Path
) -> None:
    with run_sqld(tmp_path, key=KEY) as server, pytest.raises(Exception):  # noqa: B017, PT011
        enter(server.url("ws"))
    (event,) = told.events
    if isinstance(event, DatabaseConnectionFailed):
        assert event.failure.error_type == "AUTH_HEADER_NOT_FOUND"
        assert "authentication failed" in event.error_message
    else:
        assert event.failure.is_disconnect


@with_transactions
def test_every_event_carries_the_span_that_was_current(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    tracer, spans = TracerProvider().get_tracer("test"), []

    async def scene(client: Any) -> None:
        await client.execute("SELECT 1")
        told.forget()
        with tracer.start_as_current_span("request") as span:
            spans.append(span.get_span_context().span_id)
            await client.batch(["SELECT 1"])
            for end in ("commit", "rollback", "close"):
                transaction = client.transaction()
                await add(transaction, end)
                ended = getattr(transaction, end)()
                if ended is not None:
                    await ended

    shop.play(scene)
    told.events = [event for event in told.events if not isinstance(event, ConnectionClosed)]
    assert len(told.events) == 8
    assert {int.from_bytes(event.parent.span_id, "big") for event in told.events} == set(spans)


@every_client
def test_a_slow_query_tells_where_it_came_from(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        await client.execute("SELECT 1")

    shop.play(scene)
    place = told.one(QueryExecuted).called_from
    assert place.file_path == "tests/sources/test_libsql_client.py"


@pytest.mark.parametrize("shop", ["http async"], indirect=True)  # only a task can be cancelled
def test_a_cancelled_call_is_a_failed_query(
    shop: Shop, told: Told, listening: ClientSource
) -> None:
    async def scene(client: Any) -> None:
        task = asyncio.ensure_future(client.execute("SELECT 1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    shop.play(scene)
    assert told.one(QueryFailed).failure.error_type == "asyncio.exceptions.CancelledError"


@shops("file")
def test_suppressed_work_is_not_told(shop: Shop, told: Told, listening: ClientSource) -> None:
    async def scene(client: Any) -> None:
        token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
        await client.execute("SELECT 1")
        transaction = client.transaction()
        await add(transaction, "ada")
        await transaction.commit()
        otel_context.detach(token)

    shop.play(scene)
    assert not told.of(QueryExecuted)
    assert not told.of(TransactionCommitted)


@every_client
@pytest.mark.swallows
def test_a_publisher_that_raises_never_reaches_the_application(shop: Shop) -> None:
    def broken(_event: object, _context: object) -> None:
        raise RuntimeError("telemetry is down")

    async def scene(client: Any) -> None:
        await add(client, "ada")
        await client.batch(["SELECT 1"])
        with pytest.raises(LibsqlError):
            await client.execute("SELECT nosuch")
        if shop.scheme != "http":
            transaction = client.transaction()
            await add(transaction, "bob")
            await transaction.commit()

    source, before = ClientSource(broken), guard.errors
    source.attach()
    shop.play(scene)
    source.detach()
    assert guard.errors > before + 3


@every_client
def test_what_is_not_wanted_any_more_is_not_told(shop: Shop, told: Told) -> None:
    source = ClientSource(told)

    async def scene(client: Any) -> None:
        mine = getattr(client, "played", client)
        async with shop.client() as other:
            source.attach(mine)
            source.attach(mine)
            await other.execute("SELECT 1")
            assert told.events == []
            await client.execute("SELECT 1")
            assert len(told.of(QueryExecuted)) == 1
            source.attach()
            source.detach(mine)
            source.detach(mine)
            await client.execute("SELECT 1")
            assert len(told.of(QueryExecuted)) == 1
            await other.execute("SELECT 1")
            assert len(told.of(QueryExecuted)) == 2
            source.attach(mine)
            await client.execute("SELECT 1")
            source.detach()
            source.detach()
            await client.execute("SELECT 1")
            assert len(told.of(QueryExecuted)) == 3

    shop.play(scene)


def test_nothing_of_ours_stays_behind(told: Told) -> None:
    kinds = (Sqlite3Client, HttpClient, HranaClient, Sqlite3Transaction, HranaTransaction)
    before = [dict(kind.__dict__) for kind in kinds]
    first, second = ClientSource(told), ClientSource(told)
    first.attach()
    second.attach()
    assert [dict(kind.__dict__) for kind in kinds] != before
    first.detach()
    assert [dict(kind.__dict__) for kind in kinds] != before
    second.detach()
    assert [dict(kind.__dict__) for kind in kinds] == before


def test_what_is_no_client_is_refused(told: Told) -> None:
    source = ClientSource(told)
    with pytest.raises(TypeError, match="create_client"):
        source.attach("file:shop.db")
    with pytest.raises(TypeError, match="create_client"):
        source.detach(libsql_client)


def test_a_package_that_is_imported_later_is_listened_to_and_ours_needs_it_not() -> None:
    script = """if True:
        import sys
        from otel_dbevents.sources.libsql.client import ClientSource
        told = []
        source = ClientSource(lambda event, context: told.append(event.event_type))
        source.attach()
        assert "libsql_client" not in sys.modules
        import libsql_client
        with libsql_client.create_client_sync("file::memory:") as client:
            client.execute("SELECT 1")
        print(*told)
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        "DatabaseConnectionEstablished",
        "QueryExecuted",
        "ConnectionClosed",
    ]
