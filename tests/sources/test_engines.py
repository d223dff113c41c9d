"""What is told is what happened: one suite of scenes on every driver's real database."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import (
    Column,
    Engine,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    exc,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    QueryExecuted,
    QueryFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.sources.engine import EngineSource
from tests.sources.engines import Case, Told

metadata = MetaData()
users = Table(
    "users", metadata, Column("id", Integer, primary_key=True), Column("name", String(50))
)
orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer),
    # MariaDB checks at once: there a COMMIT is made to fail in another way.
    ForeignKeyConstraint(["user_id"], ["users.id"], deferrable=True, initially="DEFERRED").ddl_if(
        dialect=("sqlite", "postgresql")
    ),
)


class Base(DeclarativeBase):
    """The ORM's side."""


class Note(Base):
    """Has a key that the database makes."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str] = mapped_column(String(50))


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine with the tables made; what that told is forgotten."""
    made = case.engine()
    case.run(metadata.create_all, made)
    case.run(Base.metadata.create_all, made)
    told.forget()
    return made


def rows(engine: Engine, *names: str) -> None:
    with engine.begin() as connection:
        connection.execute(insert(users), [{"name": name} for name in names])


def test_a_first_connection_is_told_with_its_database(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine = case.engine(pool_size=3)

    def scene() -> None:
        engine.connect().close()

    case.run(scene)
    assert told.names() == [
        "DatabaseConnectionEstablished",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ]
    established = told.one(DatabaseConnectionEstablished)
    assert established.database_type == case.system
    assert established.connection_pool_size == 3
    assert established.database.namespace == case.namespace
    if engine.url.host:
        assert established.database.server_address == "127.0.0.1"
        assert established.database.server_port == engine.url.port
    assert 0 < established.duration_ns <= told.one(ConnectionCheckedOut).duration_ns
    assert told.one(ConnectionCheckedOut).create_ns == established.duration_ns


def test_a_second_checkout_is_no_new_connection(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        engine.connect().close()
        engine.connect().close()

    case.run(scene)
    assert DatabaseConnectionEstablished not in map(type, told.events)
    assert len(told.of(ConnectionCheckedOut)) == 2
    assert len(told.of(ConnectionCheckedIn)) == 2


def test_a_select_tells_its_rows_once_they_are_read(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        rows(engine, "ada", "bob", "cy")
        told.forget()
        with engine.connect() as connection:
            connection.execute(select(users).where(users.c.name != "zoe")).all()

    case.run(scene)
    query = told.one(QueryExecuted)
    assert query.returned_rows == 3
    assert query.statement.query_summary == "SELECT users"
    assert query.statement.operation_name == "SELECT"
    assert query.statement.collection_name == "users"
    assert type(query.statement.collection_name) is str
    assert "zoe" not in query.statement.query_text
    assert query.duration_ns > 0
    names = told.names()
    assert names.index("QueryExecuted") < names.index("ConnectionCheckedIn")
    if case.can("read_transaction"):
        assert names.index("QueryExecuted") < names.index("TransactionReleased")


@pytest.mark.parametrize("read", ["fetchone", "fetchmany", "partitions", "first", "closed", "none"])
def test_rows_are_counted_however_they_are_read(
    case: Case, told: Told, engine: Engine, read: str
) -> None:
    expected = {
        "fetchone": 2, "fetchmany": 3, "partitions": 5, "first": 1, "closed": 1, "none": 0,
    }  # fmt: skip

    def scene() -> None:
        rows(engine, *"abcde")
        told.forget()
        with engine.connect() as connection:
            result = connection.execute(select(users))
            if read == "fetchone":
                result.fetchone()
                result.fetchone()
            elif read == "fetchmany":
                result.fetchmany(3)
            elif read == "partitions":
                assert [len(part) for part in result.yield_per(2).partitions()] == [2, 2, 1]
            elif read == "first":
                result.first()
            elif read == "closed":
                result.fetchone()
                result.close()

    case.run(scene)
    assert told.one(QueryExecuted).returned_rows == expected[read]


def test_literals_never_leave(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 'hunter2' AS pw, 4711 AS pin -- s3cret")).all()
            connection.exec_driver_sql("SELECT 'hunter2'").all()

    case.run(scene)
    for query in told.of(QueryExecuted):
        told_text = str(query.to_dict())
        assert not any(word in told_text for word in ("hunter2", "4711", "s3cret"))


def test_a_batch_tells_its_size(case: Case, told: Told, engine: Engine) -> None:
    case.run(rows, engine, "ada", "bob", "cy")
    query = told.one(QueryExecuted)
    assert query.batch_size == 3
    assert query.statement.query_summary == "INSERT users"


@pytest.mark.parametrize("statement", [update(users), text("UPDATE users SET name = :name")])
def test_an_update_tells_the_rows_it_changed(
    case: Case, told: Told, engine: Engine, statement: Any
) -> None:
    def scene() -> None:
        rows(engine, "ada", "bob")
        told.forget()
        with engine.begin() as connection:
            connection.execute(statement, {"name": "eve"})

    case.run(scene)
    assert told.one(QueryExecuted).affected_rows == 2
    assert told.one(QueryExecuted).returned_rows == -1


def test_a_failing_query_tells_its_code_and_no_value(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT nosuch FROM users WHERE name = 'hunter2'"))

    with pytest.raises(case.about.errors) as raised:
        case.run(scene)
    failed = told.one(QueryFailed)
    assert failed.failure.error_type == case.about.no_column
    assert failed.failure.status_code == case.about.code(case.about.no_column)
    assert "sqlalchemy" not in failed.failure.exception_type
    assert "hunter2" not in str(failed.to_dict())
    assert "hunter2" in str(raised.value) or case.system == "libsql"
    assert bool(told.of(TransactionRolledBack)) is case.can("read_transaction")
    assert not told.of(QueryExecuted)


def test_a_commit_is_told_when_the_driver_has_committed(
    case: Case, told: Told, engine: Engine
) -> None:
    case.run(rows, engine, "ada")
    committed = told.one(TransactionCommitted)
    assert committed.statement_count == 1
    assert 0 < committed.duration_ns < committed.transaction_ns
    assert not told.of(TransactionRolledBack)


def test_a_failed_commit_is_no_commit(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            connection.execute(insert(orders).values(user_id=999))
            if case.system == "mariadb":  # nothing is put off to its COMMIT but the network
                with engine.connect() as other:
                    case.lose(connection, other)
                told.forget()

    with pytest.raises(case.about.errors):
        case.run(scene)
    failed = told.one(CommitFailed)
    assert failed.failure.error_type in case.about.commit_codes
    assert failed.failure.is_disconnect is (case.system == "mariadb")
    assert not told.of(TransactionCommitted)
    assert not told.of(TransactionRolledBack)
    assert not told.of(QueryFailed)


@pytest.mark.needs("second_commit")
def test_a_commit_that_succeeds_at_the_second_try_is_told_as_both(
    case: Case, told: Told, engine: Engine
) -> None:
    # the others have rolled back when COMMIT fails: there is nothing to try again
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(insert(orders).values(user_id=7))
            with pytest.raises(Exception, match="FOREIGN KEY"):
                engine.dialect.do_commit(connection.connection)
            connection.execute(insert(users).values(id=7, name="late"))
            connection.commit()

    case.run(scene)
    assert told.one(CommitFailed)
    assert told.one(TransactionCommitted).statement_count == 2


def test_a_rollback_of_writes_and_the_release_of_reads_differ(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(insert(users).values(name="ada"))
            connection.rollback()
            connection.execute(select(users)).all()

    case.run(scene)
    assert told.one(TransactionRolledBack).statement_count == 1
    released = [event.statement_count for event in told.of(TransactionReleased)]
    assert released == ([1] if case.can("read_transaction") else [])


def test_what_never_opened_a_transaction_is_not_committed(
    case: Case, told: Told, engine: Engine
) -> None:
    """SQLite and its kin open one at the first write: neither reading nor DDL does."""

    def scene() -> None:
        with engine.begin() as connection:
            connection.execute(select(users)).all()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE more (id INTEGER)"))

    case.run(scene)
    _, made = told.of(QueryExecuted)
    assert (made.returned_rows, made.statement.query_summary) == (-1, "CREATE TABLE more")
    assert len(told.of(TransactionCommitted)) == (2 if case.can("read_transaction") else 0)


def test_nothing_is_committed_where_nothing_was_run(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.begin():
            pass

    case.run(scene)
    assert told.names() == ["ConnectionCheckedOut", "ConnectionCheckedIn"]


@pytest.mark.needs("autocommit")
def test_autocommit_has_no_transaction(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        with autocommit.begin() as connection:
            connection.execute(insert(users).values(name="ada"))

    case.run(scene)
    assert told.one(QueryExecuted)
    assert not told.of(TransactionCommitted)


@pytest.mark.needs("two_phase")
def test_a_two_phase_transaction_ends_once(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            transaction = connection.begin_twophase()
            connection.execute(insert(users).values(name="ada"))
            transaction.commit()
            transaction = connection.begin_twophase()
            connection.execute(insert(users).values(name="bob"))
            transaction.rollback()

    case.run(scene)
    # psycopg has calls for it; in MariaDB it begins with a statement
    begun = 0 if case.system == "postgresql" else 1
    assert told.one(TransactionCommitted).statement_count == begun + 1
    assert told.one(TransactionRolledBack).statement_count == begun + 1
    assert len(told.of(QueryExecuted)) == 2 * (begun + 1)


def test_a_batch_that_fails_tells_its_size(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            connection.execute(insert(users), [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}])

    with pytest.raises(case.about.errors):
        case.run(scene)
    assert told.one(QueryFailed).batch_size == 2


def test_a_statement_without_parameters_is_told(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            plain = connection.execution_options(no_parameters=True)
            plain.exec_driver_sql("SELECT name FROM users").all()
            with pytest.raises(case.about.errors):
                plain.exec_driver_sql("SELECT nosuch FROM users")

    case.run(scene)
    assert told.one(QueryExecuted).statement.query_summary == "SELECT users"
    assert told.one(QueryFailed).statement.query_summary == "SELECT users"


@pytest.mark.needs("savepoint")
def test_a_savepoint_ends_no_transaction(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            connection.execute(insert(users).values(name="ada"))
            with connection.begin_nested() as savepoint:
                connection.execute(insert(users).values(name="bob"))
                savepoint.rollback()

    case.run(scene)
    assert not told.of(TransactionRolledBack)
    assert told.one(TransactionCommitted).statement_count == 4
    assert [query.affected_rows for query in told.of(QueryExecuted)][1::2] == [-1, -1]


def test_an_exhausted_pool_tells_who_holds_it(case: Case, told: Told, source: EngineSource) -> None:
    engine = case.engine(pool_size=1, max_overflow=0, pool_timeout=0.05)
    tracer = TracerProvider().get_tracer("test")

    def scene() -> None:
        with tracer.start_as_current_span("holder"), engine.connect():
            engine.connect()

    with pytest.raises(exc.TimeoutError):
        case.run(scene)
    timed_out = told.one(CheckoutTimedOut)
    assert (timed_out.used, timed_out.max) == (1, 1)
    (holder,) = timed_out.holders
    assert holder.parent == timed_out.parent is not None
    assert holder.held_ns > 0
    assert timed_out.duration_ns >= 50_000_000
    (reading,) = [found for found in source.pools() if found.database == timed_out.database]
    assert (reading.idle, reading.used, reading.pending, reading.max) == (1, 0, 0, 1)


def test_a_failed_connect_is_told_without_the_drivers_words(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine = case.unreachable()

    def scene() -> None:
        engine.connect()

    for _ in range(2):
        with pytest.raises(Exception):  # noqa: B017, PT011 - each driver has its own
            case.run(scene)
    first, second = told.of(DatabaseConnectionFailed)
    assert (first.retry_count, second.retry_count) == (0, 1)
    assert first.failure.error_type
    told_text = str(first.to_dict())
    assert "hunter2" not in told_text
    assert "bob" not in told_text
    told_reason = first.error_message.lower().replace("econnrefused", "refused")
    assert case.about.unreachable in told_reason
    assert not told.of(DatabaseConnectionEstablished)


def test_raw_connections_are_seen_too(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        raw = engine.raw_connection()
        raw.close()

    case.run(scene)
    assert told.names() == ["ConnectionCheckedOut", "ConnectionCheckedIn"]


def test_an_invalidated_connection_is_told_and_replaced(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.invalidate()
        engine.connect().close()

    case.run(scene)
    assert told.one(ConnectionInvalidated).soft is False
    assert told.one(ConnectionClosed).duration_ns > 0
    assert told.one(DatabaseConnectionEstablished)


@pytest.mark.needs("sessions")
def test_a_connection_that_the_server_ends_is_told_as_lost_and_replaced(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as victim, engine.connect() as other:
            case.lose(victim, other)
            with pytest.raises(exc.DBAPIError):
                victim.execute(text("SELECT 1 AS lost")).all()
        engine.connect().close()

    case.run(scene)
    assert told.one(QueryFailed).statement.query_text == "SELECT ? AS lost"
    assert told.one(QueryFailed).failure.is_disconnect
    assert told.of(ConnectionInvalidated)[0].failure.is_disconnect
    assert told.of(DatabaseConnectionEstablished)
    assert not told.of(DatabaseConnectionFailed)


@pytest.mark.needs("sessions")
def test_a_ping_that_fails_tells_the_drivers_error_and_is_no_query(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine, killer = case.engine(pool_pre_ping=True), case.make(case.url)

    def scene() -> None:
        with engine.connect() as connection:
            session = case.session(connection)
        with killer.connect() as other:
            case.end(session, other)
        told.forget()
        engine.connect().close()
        engine.connect().close()

    case.run(scene)
    assert told.names() == [
        "ConnectionInvalidated",
        "ConnectionClosed",
        "DatabaseConnectionEstablished",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ]
    failure = told.one(ConnectionInvalidated).failure
    assert failure.is_disconnect
    assert failure.exception_type.partition(".")[0] in case.driver
    if case.system == "mariadb":
        assert failure.status_code in ("2006", "2013")


@pytest.mark.needs("detach")
def test_a_detached_connection_goes_on_and_never_comes_back(
    case: Case, told: Told, engine: Engine, source: EngineSource
) -> None:
    # SQLAlchemy leaves the end of a detached async connection to its user
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(insert(users).values(name="ada"))
            connection.detach()
            connection.commit()

    case.run(scene)
    assert told.one(TransactionCommitted).statement_count == 1
    assert not told.of(ConnectionCheckedIn)
    (reading,) = [found for found in source.pools() if found.database == told.events[0].database]
    assert reading.used == 0


def test_every_event_carries_the_span_that_was_current(
    case: Case, told: Told, engine: Engine
) -> None:
    tracer = TracerProvider().get_tracer("test")
    seen: list[Any] = []

    def scene() -> None:
        with tracer.start_as_current_span("request") as span:
            seen.append(span.get_span_context())
            rows(engine, "ada")

    case.run(scene)
    (span_context,) = seen
    for event, context in zip(told.events, told.contexts, strict=True):
        assert event.parent is not None
        assert int.from_bytes(event.parent.span_id, "big") == span_context.span_id
        assert int.from_bytes(event.parent.trace_id, "big") == span_context.trace_id
        assert trace.get_current_span(context).get_span_context() == span_context


def test_the_same_database_has_one_name_everywhere(case: Case, told: Told, engine: Engine) -> None:
    second = case.make(case.url)

    def scene() -> None:
        engine.connect().close()
        second.connect().close()

    case.run(scene)
    assert len({event.aggregate_id for event in told.events}) == 1
    assert len({event.event_id for event in told.events}) == len(told.events)
