"""How a transaction or a statement ended: what is told is what the database did."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    exc,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.util import await_only, greenlet_spawn

from otel_dbevents.events import (
    CommitFailed,
    ConnectionInvalidated,
    QueryExecuted,
    QueryFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.sources.engine import EngineSource
from tests.services.process import wait_until
from tests.sources.engines import Case, Told
from tests.sources.shop import add_users, metadata, users

ENDS = (
    TransactionCommitted,
    TransactionRolledBack,
    TransactionReleased,
    CommitFailed,
    RollbackFailed,
)


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine with two users; what that told is forgotten."""
    made = case.engine(pool_size=2, max_overflow=0)
    case.run(fill, made)
    told.forget()
    return made


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        add_users(connection, "ada", "bob")


def count(engine: Engine) -> int:
    """Return how many users there are, as another connection sees it."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(users)) or 0


def fail(case: Case, connection: Connection) -> None:
    with pytest.raises(case.about.errors):
        connection.execute(text("SELECT nosuch FROM users"))


def ends(told: Told) -> list[str]:
    """Return the ends of transactions that changed something, in order."""
    return [each.event_type for each in told.events if isinstance(each, ENDS[:2] + ENDS[3:])]


def test_a_commit_after_a_failed_statement_is_told_as_what_became_of_it(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "cy")
            fail(case, connection)
            connection.commit()
            assert ends(told) == [kept_or_not]
            add_users(connection, "di")
            connection.commit()
        return count(engine)

    lost = case.system == "postgresql"
    kept_or_not = "TransactionRolledBack" if lost else "TransactionCommitted"
    assert case.run(scene) == (3 if lost else 4)
    assert ends(told) == [kept_or_not, "TransactionCommitted"]


@pytest.mark.needs("savepoint")
def test_a_savepoint_that_undoes_a_failure_leaves_a_commit(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.begin() as connection:
            add_users(connection, "cy")
            with connection.begin_nested() as savepoint:
                fail(case, connection)
                savepoint.rollback()
            with connection.begin_nested():
                add_users(connection, "di")
        return count(engine)

    assert case.run(scene) == 4
    assert ends(told) == ["TransactionCommitted"]
    assert told.one(TransactionCommitted).statement_count == 7


@pytest.mark.only("asyncpg")  # the others send what they are given
def test_a_statement_that_never_reached_the_server_undoes_nothing(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.connect() as connection:
            add_users(connection, "cy")
            with pytest.raises(exc.DBAPIError):
                connection.execute(text("SELECT CAST(:number AS INTEGER)"), {"number": "one"})
            connection.commit()
        return count(engine)

    assert case.run(scene) == 3
    assert ends(told) == ["TransactionCommitted"]


@pytest.mark.needs("autocommit")
@pytest.mark.but_not("asyncpg")  # no such setting: SQLAlchemy knows of every autocommit there
@pytest.mark.parametrize("end", [Connection.commit, Connection.rollback])
def test_where_the_driver_commits_by_itself_no_end_is_told(
    case: Case, told: Told, engine: Engine, end: Callable[[Connection], None]
) -> None:
    own = {"autocommit": True} if case.system != "sqlite" else {"isolation_level": None}
    autocommit = case.make(case.url, connect_args=own)

    def scene() -> int:
        with autocommit.connect() as connection:
            add_users(connection, "cy")
            end(connection)
        return count(engine)

    assert case.run(scene) == 3
    assert ends(told) == []


@pytest.mark.needs("autocommit")
@pytest.mark.parametrize("end", [Connection.commit, Connection.rollback])
def test_in_autocommit_no_end_is_told(
    case: Case, told: Told, engine: Engine, end: Callable[[Connection], None]
) -> None:
    def scene() -> int:
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        with autocommit.connect() as connection:
            add_users(connection, "cy")
            fail(case, connection)
            end(connection)
        told_then = ends(told)
        assert count(engine) == 3
        return len(told_then)

    assert case.run(scene) == 0


@pytest.mark.but_not("mariadb")  # it keeps it too, and its driver does not know
def test_a_table_that_is_kept_at_once_is_neither_committed_nor_rolled_back(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE more (id INTEGER)"))
            connection.rollback()
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE users"))

    case.run(scene)
    undone = ["TransactionRolledBack", "TransactionCommitted"]
    assert ends(told) == (undone if case.can("read_transaction") else [])


@pytest.mark.needs("two_phase")
@pytest.mark.parametrize("prepare", [True, False])
def test_a_two_phase_transaction_ends_once_and_as_it_did(
    case: Case, told: Told, engine: Engine, prepare: bool
) -> None:
    def scene() -> int:
        with engine.connect() as connection:
            for name, keep in (("cy", True), ("di", False)):
                transaction = connection.begin_twophase()
                add_users(connection, name)
                if prepare:
                    transaction.prepare()
                    assert len(ends(told)) == (0 if keep else 1)
                transaction.commit() if keep else transaction.rollback()
        return count(engine)

    assert case.run(scene) == 3
    assert ends(told) == ["TransactionCommitted", "TransactionRolledBack"]


@pytest.mark.needs("two_phase")
def test_a_two_phase_commit_after_a_failed_statement_is_told_as_what_became_of_it(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.connect() as connection:
            transaction = connection.begin_twophase()
            add_users(connection, "cy")
            fail(case, connection)
            transaction.commit()
        return count(engine)

    kept = case.run(scene) == 3
    assert ends(told) == ["TransactionCommitted" if kept else "TransactionRolledBack"]
    assert kept is (case.system != "postgresql")


TOO_LONG = {
    "postgresql": ("SET statement_timeout = 50", "SELECT pg_sleep(30)", "57014"),
    "mariadb": (
        "SET SESSION max_statement_time = 0.05",
        "SELECT sum(a.seq * b.seq) FROM seq_1_to_100000 AS a, seq_1_to_100000 AS b",
        "1969",
    ),
}


@pytest.mark.needs("sessions")
def test_a_statement_that_takes_too_long_for_the_server_is_told_with_its_code(
    case: Case, told: Told, engine: Engine
) -> None:
    limit, slow, code = TOO_LONG[case.system]

    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(text(limit))
            with pytest.raises(exc.DBAPIError):
                connection.execute(text(slow))
            connection.rollback()
            connection.execute(text("SELECT 1"))

    case.run(scene)
    failure = told.one(QueryFailed).failure
    assert failure.error_type == failure.status_code == code
    assert not failure.is_disconnect
    assert not told.of(ConnectionInvalidated)
    assert ends(told) == ["TransactionRolledBack"]


LOCKED = {
    "sqlite": ("PRAGMA busy_timeout = 10", "SQLITE_BUSY"),
    "postgresql": ("SET lock_timeout = '10ms'", "55P03"),
    "mariadb": ("SET SESSION innodb_lock_wait_timeout = 0", "1205"),
}


@pytest.mark.needs("locks")
def test_waiting_for_a_lock_in_vain_is_told_with_its_code(
    case: Case, told: Told, engine: Engine
) -> None:
    limit, code = LOCKED[case.system]

    def scene() -> None:
        with engine.connect() as holder, engine.connect() as other:
            holder.execute(update(users).values(name="mine"))
            other.execute(text(limit))
            with pytest.raises(exc.DBAPIError):
                other.execute(update(users).values(name="yours"))
            other.rollback()
            holder.commit()

    case.run(scene)
    failed = told.one(QueryFailed)
    assert failed.failure.error_type == code
    assert not failed.failure.is_disconnect
    assert ends(told) == ["TransactionRolledBack", "TransactionCommitted"]


@pytest.mark.needs("serializable")
def test_a_commit_that_is_refused_for_another_transaction_is_a_failed_commit(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        serial = engine.execution_options(isolation_level="SERIALIZABLE")
        with serial.connect() as one, serial.connect() as other:
            for connection in (one, other):
                connection.scalar(select(func.count()).select_from(users))
            for connection in (one, other):
                add_users(connection, "cy")
            one.commit()
            with pytest.raises(exc.DBAPIError):
                other.commit()
        return count(engine)

    assert case.run(scene) == 3
    assert ends(told) == ["TransactionCommitted", "CommitFailed"]
    assert told.one(CommitFailed).failure.error_type == "40001"
    assert not told.of(QueryFailed)


@pytest.mark.needs("serializable")
def test_a_statement_that_cannot_be_serialized_is_told_with_its_code(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
        with repeatable.connect() as one, repeatable.connect() as other:
            other.execute(select(users)).all()
            one.execute(update(users).values(name="cy"))
            one.commit()
            with pytest.raises(exc.DBAPIError):
                other.execute(update(users).values(name="di"))

    case.run(scene)
    assert told.one(QueryFailed).failure.error_type == "40001"
    assert ends(told) == ["TransactionCommitted", "TransactionRolledBack"]


def both(case: Case, act: Callable[[int, Callable[[], None]], None]) -> None:
    """Run ``act`` twice at once; each may wait until the other has come as far."""
    if case.loop is None:
        barrier = threading.Barrier(2)
        threads = [
            threading.Thread(target=act, args=(number, lambda: barrier.wait(30) and None))
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return

    async def run_both() -> None:
        barrier = asyncio.Barrier(2)

        def meet() -> None:
            await_only(barrier.wait())

        await asyncio.gather(*(greenlet_spawn(act, number, meet) for number in range(2)))

    case.loop.run_until_complete(run_both())


@pytest.mark.needs("sessions")
def test_of_two_that_wait_for_each_other_one_is_told_as_rolled_back(
    case: Case, told: Told, engine: Engine
) -> None:
    def act(number: int, meet: Callable[[], None]) -> None:
        mine = users.c.id == number + 1
        with engine.connect() as connection:
            try:
                connection.execute(update(users).where(mine).values(name="cy"))
                meet()
                connection.execute(update(users).where(~mine).values(name="di"))
                connection.commit()
            except exc.DBAPIError:
                connection.rollback()

    both(case, act)
    code = {"postgresql": "40P01", "mariadb": "1213"}[case.system]
    assert told.one(QueryFailed).failure.error_type == code
    assert sorted(ends(told)) == ["TransactionCommitted", "TransactionRolledBack"]


SLEEP = {"postgresql": "SELECT pg_sleep(60)", "mariadb": "SELECT SLEEP(60)"}


@pytest.fixture
def pause(engine: Engine, case: Case) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A query that takes long, what is set once it runs, and what ends it (SQLite only)."""
    runs, may_end = threading.Event(), threading.Event()
    if case.system != "sqlite":
        yield SLEEP[case.system], runs, may_end
        return

    def wait() -> int:
        runs.set()
        return int(may_end.wait(60))

    @event.listens_for(engine, "connect")
    def define(connection: Any, _record: Any) -> None:
        connection.create_function("pause", 0, wait)

    case.run(engine.dispose)
    yield "SELECT pause()", runs, may_end
    may_end.set()


@pytest.mark.needs("cancel")
def test_a_cancelled_query_is_told_and_its_transaction_has_no_end(
    case: Case, told: Told, engine: Engine, source: EngineSource, pause: Any
) -> None:
    slow, runs, may_end = pause
    assert case.loop is not None

    def scene() -> None:
        with engine.connect() as connection:
            add_users(connection, "cy")
            connection.execute(text(slow))

    async def cancel() -> None:
        task = asyncio.ensure_future(greenlet_spawn(scene))
        while not told.of(QueryExecuted):
            await asyncio.sleep(0.01)
        if case.system == "sqlite":
            await asyncio.to_thread(runs.wait, 30)
        else:
            await asyncio.to_thread(wait_until_it_runs, case, end=False)
        task.cancel()
        may_end.set()  # aiosqlite's thread closes the connection when it is free
        with pytest.raises(asyncio.CancelledError):
            await task

    case.loop.run_until_complete(cancel())
    failed = told.one(QueryFailed)
    assert failed.failure.error_type == "asyncio.exceptions.CancelledError"
    assert told.one(ConnectionInvalidated)
    assert not any(told.of(kind) for kind in ENDS)
    assert not any(found.used or found.idle for found in source.pools())


RUNNING = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'"
    " AND state = 'active' AND datname = :name",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%%'"
    " AND db = :name",
}


def wait_until_it_runs(case: Case, *, end: bool) -> None:
    """Wait until the server runs the slow query, and let it end its session if that is asked."""
    driver = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}[case.system]
    engine = create_engine(make_url(case.url).set(drivername=driver), isolation_level="AUTOCOMMIT")
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    running, name = text(RUNNING[case.system]), {"name": case.namespace}
    with engine.connect() as connection:
        wait_until(lambda: connection.scalar(running, name) is not None)
        if end:
            case.end(connection.scalar(running, name), connection)
    engine.dispose()
    otel_context.detach(token)


@pytest.mark.needs("sessions")
def test_a_connection_that_is_ended_in_a_query_is_told_as_lost_and_its_transaction_has_no_end(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            add_users(connection, "cy")
            killer = threading.Thread(target=wait_until_it_runs, args=(case,), kwargs={"end": True})
            killer.start()
            with pytest.raises(exc.DBAPIError) as raised:
                connection.execute(text(SLEEP[case.system]))
            assert raised.value.connection_invalidated
            killer.join()

    case.run(scene)
    assert told.one(QueryFailed).failure.is_disconnect
    assert told.of(ConnectionInvalidated)[0].failure.is_disconnect
    assert not any(told.of(kind) for kind in ENDS)
    assert case.run(count, engine) == 2


def test_what_was_only_read_is_released_by_any_end_but_a_commit(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(select(users)).all()
        with engine.connect() as connection:
            connection.execute(select(users)).all()
            connection.rollback()

    case.run(scene)
    found = [each.event_type for each in told.events if isinstance(each, ENDS)]
    # where the driver begins nothing to read, there is nothing to release
    assert found == (["TransactionReleased"] * 2 if case.can("read_transaction") else [])


def run_raw(connection: Connection, sql: str) -> None:
    """Run a statement by a cursor of the driver's, which nobody sees."""
    cursor = connection.connection.cursor()
    cursor.execute(sql)
    cursor.close()


def test_a_commit_of_what_only_the_drivers_own_cursor_wrote_is_told(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.begin() as connection:
            run_raw(connection, "INSERT INTO users (id, name) VALUES (7, 'cy')")
        with engine.begin() as connection:
            add_users(connection, "di")
        return count(engine)

    assert case.run(scene) == 4
    assert ends(told) == ["TransactionCommitted"] * 2
    assert [each.statement_count for each in told.of(TransactionCommitted)] == [0, 1]


def test_a_commit_of_nothing_is_not_told(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        for _ in range(2):
            with engine.begin():
                pass

    case.run(scene)
    assert not any(told.of(kind) for kind in ENDS)


@pytest.mark.needs("serializable")
def test_a_failed_commit_of_what_only_the_drivers_own_cursor_wrote_is_told_and_over_then(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            table = "CREATE TABLE child (id INTEGER REFERENCES users DEFERRABLE INITIALLY DEFERRED)"
            connection.execute(text(table))
        told.forget()
        with pytest.raises(exc.IntegrityError), engine.begin() as connection:
            run_raw(connection, "INSERT INTO child VALUES (99)")
        with engine.begin() as connection:
            add_users(connection, "cy")

    case.run(scene)
    assert ends(told) == ["CommitFailed", "TransactionCommitted"]
    assert told.one(CommitFailed).failure.error_type == "23503"


def test_an_insert_that_fails_and_is_caught_by_the_pool_is_told_as_rolled_back(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> int:
        with engine.connect() as connection:
            connection.execute(insert(users).values(id=7, name="cy"))
            with pytest.raises(case.about.errors):
                connection.execute(insert(users).values(id=7, name="di"))
        return count(engine)

    assert case.run(scene) == 2
    assert ends(told) == ["TransactionRolledBack"]


@pytest.mark.parametrize("wrote", [True, False])
def test_a_transaction_that_was_open_before_we_listened_may_have_written(
    case: Case, told: Told, wrote: bool
) -> None:
    engine, late = case.engine(), EngineSource(told)
    case.run(fill, engine)

    def scene() -> None:
        with engine.connect() as connection:
            if wrote:
                add_users(connection, "cy")
            else:
                connection.execute(select(users)).all()
            late.attach(engine)
            connection.execute(select(users)).all()
            connection.rollback()
            connection.execute(select(users)).all()

    case.run(scene)
    late.detach()
    open_then = wrote or case.can("read_transaction")
    assert ends(told) == (["TransactionRolledBack"] if open_then else [])
    assert len(told.of(TransactionReleased)) == (1 if case.can("read_transaction") else 0)
