"""MariaDB and what only it does: its name, its error numbers, CALL, RETURNING, streams, upserts."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Connection, Engine, delete, exc, func, insert, make_url, select, text, update
from sqlalchemy.dialects.mysql import insert as upsert

from otel_dbevents import Config, Pipeline
from otel_dbevents.events import (
    CommitFailed,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseRecovered,
    DatabaseType,
    PoolReading,
    QueryExecuted,
    QueryFailed,
    TransactionCommitted,
    TransactionReleased,
)
from otel_dbevents.sources.engine import EngineSource
from tests.bridge.support import metrics_of, points_of, values_of
from tests.services.mariadb import Mariadb
from tests.sources.engines import Case, Told, case_of
from tests.sources.shop import add_users, metadata, users


@pytest.fixture(params=["pymysql", "asyncmy"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Each of MariaDB's drivers in turn, with an empty database of its own."""
    with case_of(request, request.param, tmp_path) as made:
        yield made


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine with two users; what that told is forgotten."""
    made = case.engine()

    def fill() -> None:
        with made.begin() as connection:
            metadata.create_all(connection)
            add_users(connection, "ada", "bob")

    case.run(fill)
    told.forget()
    return made


def pool_of(case: Case, source: EngineSource) -> PoolReading:
    """Return the pool's numbers; engines of earlier tests may be there still."""
    where = case.namespace, make_url(case.url).port
    (found,) = (
        pool
        for pool in source.pools()
        if (pool.database.namespace, pool.database.server_port) == where
    )
    return found


def test_it_is_told_as_mysql_until_the_server_has_said_what_it_is(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine = case.engine()
    source.attach(engine)
    unread = pool_of(case, source)
    assert unread.database.system_name is DatabaseType.MYSQL

    def scene() -> None:
        engine.connect().close()

    case.run(scene)
    read = pool_of(case, source)
    established = told.one(DatabaseConnectionEstablished)
    assert established.database_type is DatabaseType.MARIADB
    assert {event.database for event in told.events} == {read.database}
    assert read.database.system_name is DatabaseType.MARIADB
    assert read.database.aggregate_id == unread.database.aggregate_id


def test_one_database_has_one_name_whatever_its_url_calls_it(
    case: Case, told: Told, source: EngineSource, mariadb: Mariadb
) -> None:
    engines = [case.make(mariadb.url(case.namespace, f"{name}+{case.driver}"))
               for name in ("mysql", "mariadb")]  # fmt: skip

    def scene() -> None:
        for engine in engines:
            with engine.connect() as connection:
                connection.execute(text('SELECT "hunter2"')).all()

    case.run(scene)
    assert len({event.aggregate_id for event in told.events}) == 1
    assert {query.statement.query_text for query in told.of(QueryExecuted)} == {"SELECT ?"}


def test_a_socket_is_the_servers_address(
    case: Case, told: Told, source: EngineSource, mariadb: Mariadb
) -> None:
    scheme = f"mysql+{case.driver}"
    engine = case.make(f"{scheme}://app@localhost/{case.namespace}?unix_socket={mariadb.socket}")

    def scene() -> None:
        engine.connect().close()

    case.run(scene)
    database = told.one(DatabaseConnectionEstablished).database
    assert (database.server_address, database.server_port) == (str(mariadb.socket), 0)
    assert database.namespace == case.namespace


def test_an_engine_that_was_connected_before_we_listened_is_known_at_once(
    case: Case, told: Told
) -> None:
    engine = case.engine()

    def scene() -> None:
        engine.connect().close()

    case.run(scene)
    late = EngineSource(told)
    late.attach(engine)
    reading = pool_of(case, late)
    late.detach()
    assert reading.database.system_name is DatabaseType.MARIADB


@pytest.mark.parametrize(
    ("database", "user", "reason"),
    [
        pytest.param("nosuch", "app", "database does not exist [1049]", id="no database"),
        pytest.param("", "app:hunter2", "authentication failed [1045]", id="wrong password"),
    ],
)
def test_a_refused_connection_is_told_by_its_number(
    case: Case, told: Told, source: EngineSource, database: str, user: str, reason: str
) -> None:
    url = case.url.replace("//app@", f"//{user}@").replace(case.namespace, database)
    engine = case.make(url)

    def scene() -> None:
        engine.connect()

    with pytest.raises(exc.OperationalError):
        case.run(scene)
    failed = told.one(DatabaseConnectionFailed)
    assert failed.error_message == f"OperationalError: {reason}"
    assert failed.failure.status_code == reason[-5:-1]
    assert "hunter2" not in str(failed.to_dict())


def _duplicate(connection: Connection, _other: Connection) -> None:
    connection.execute(insert(users).values(id=1, name="hunter2"))


def _locked(connection: Connection, other: Connection) -> None:
    other.execute(update(users).values(name="eve"))
    connection.execute(text("SET SESSION innodb_lock_wait_timeout = 0"))
    connection.execute(update(users).values(name="mallory"))


def _too_slow(connection: Connection, _other: Connection) -> None:
    connection.execute(text("SET SESSION max_statement_time = 0.01"))
    connection.execute(text("SELECT count(*) FROM seq_1_to_100000 a, seq_1_to_100000 b"))


@pytest.mark.parametrize(
    ("act", "number"), [(_duplicate, "1062"), (_locked, "1205"), (_too_slow, "1969")]
)
def test_an_error_is_told_by_its_number(
    case: Case, told: Told, engine: Engine, act: Any, number: str
) -> None:
    def scene() -> None:
        with engine.connect() as connection, engine.connect() as other:
            act(connection, other)

    with pytest.raises(exc.DBAPIError):
        case.run(scene)
    failure = told.one(QueryFailed).failure
    assert failure.error_type == failure.status_code == number
    assert failure.exception_type.partition(".")[0] == case.driver
    assert not failure.is_disconnect
    assert "hunter2" not in str(failure)


@pytest.mark.but_not("async")  # the same number, and one thread to wait in
def test_the_victim_of_a_deadlock_is_told_by_its_number(case: Case, told: Told, engine: Engine):
    def add_to(first: int, second: int) -> None:
        try:
            with engine.begin() as connection:
                connection.execute(update(users).where(users.c.id == first).values(name="x"))
                both.wait(60)
                connection.execute(update(users).where(users.c.id == second).values(name="y"))
        except exc.OperationalError:
            pass

    both = threading.Barrier(2)
    threads = [threading.Thread(target=add_to, args=order) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.one(QueryFailed).failure.status_code == "1213"
    assert len(told.of(TransactionCommitted)) == 1


def test_a_prepared_transaction_that_is_lost_in_its_commit_is_told_once(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection, engine.connect() as other:
            session = case.session(connection)
            connection.rollback()
            transaction = connection.begin_twophase()
            add_users(connection, "cy")
            transaction.prepare()
            prepared.append(transaction.xid)
            case.end(session, other)
            told.forget()
            transaction.commit()

    prepared: list[str] = []
    with pytest.raises(exc.DBAPIError):
        case.run(scene)
    failed = told.one(CommitFailed)
    assert failed.failure.status_code in ("2006", "2013")
    assert failed.failure.is_disconnect
    assert not told.of(QueryFailed)

    def recover() -> None:
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("XA ROLLBACK :xid"), {"xid": prepared[0]})

    case.run(recover)


def test_a_two_phase_transaction_that_only_read_is_released(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            transaction = connection.begin_twophase()
            connection.execute(select(users)).all()
            transaction.rollback()

    case.run(scene)
    begun, read = told.of(QueryExecuted)
    assert begun.statement.query_summary == "XA BEGIN"
    assert read.returned_rows == 2
    assert told.one(TransactionReleased).statement_count == 2


def test_a_procedure_is_told_by_its_name_and_its_rows(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            make = "CREATE PROCEDURE named(wanted TEXT) SELECT * FROM users WHERE name = wanted"
            connection.exec_driver_sql(make)
            connection.exec_driver_sql("CREATE PROCEDURE nothing() DO 1")
            told.forget()
            assert len(connection.execute(text("CALL named('ada')")).all()) == 1
            connection.execute(text("CALL nothing()"))

    case.run(scene)
    named, nothing = told.of(QueryExecuted)
    assert named.statement.query_text == "CALL named(?)"
    assert named.statement.query_summary == "CALL named"
    assert named.returned_rows == 1
    assert nothing.returned_rows == -1


def test_generated_keys_and_returned_rows(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            made = connection.execute(insert(users).values(name="cy"))
            assert made.inserted_primary_key == (3,)
            assert connection.scalar(select(func.last_insert_id())) == 3
            returned = connection.execute(insert(users).values(name="di").returning(users.c.id))
            assert returned.scalar_one() == 4
            gone = connection.execute(delete(users).where(users.c.id > 2).returning(users.c.name))
            assert sorted(gone.scalars()) == ["cy", "di"]

    case.run(scene)
    keys, asked, returned, gone = told.of(QueryExecuted)
    assert (keys.returned_rows, keys.affected_rows) == (-1, 1)
    assert asked.returned_rows == returned.returned_rows == 1
    assert gone.returned_rows == 2
    assert told.one(TransactionCommitted).statement_count == 4


@pytest.mark.swallows(sometimes=True)  # an older SQLAlchemy cannot print a part of it alone
def test_an_upsert_tells_the_number_that_the_server_gives(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            for key, name in ((1, "eve"), (7, "gil")):
                statement = upsert(users).values(id=key, name=name)
                connection.execute(statement.on_duplicate_key_update(name=name))

    case.run(scene)
    changed, added = told.of(QueryExecuted)
    assert (changed.affected_rows, added.affected_rows) == (2, 1)
    assert changed.statement.query_summary == "INSERT users"


def test_a_stream_is_read_from_the_server_and_counted(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            stream = connection.execution_options(stream_results=True, max_row_buffer=100)
            result = stream.execute(text("SELECT seq FROM seq_1_to_2500"))
            kinds.append(type(result.cursor).__name__)
            assert len(list(result)) == 2500

    kinds: list[str] = []
    case.run(scene)
    assert kinds[0] in ("SSCursor", "AsyncAdapt_asyncmy_ss_cursor")
    query = told.one(QueryExecuted)
    assert query.returned_rows == 2500
    assert 0 < query.first_row_ns < query.fetch_ns


# PyMySQL's cursor fails at the end of its life too
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_is_cut_off_is_a_failed_query_and_a_lost_connection(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection, engine.connect() as other:
            session = case.session(connection)
            told.forget()
            stream = connection.execution_options(stream_results=True, max_row_buffer=10)
            result = stream.execute(text("SELECT seq, repeat('x', 1000) FROM seq_1_to_100000"))
            result.fetchone()
            case.end(session, other)
            for _ in result:
                pass

    with pytest.raises(exc.DBAPIError) as raised:
        case.run(scene)
    del raised
    gc.collect()
    failed = told.one(QueryFailed)
    assert failed.statement.query_text == "SELECT seq, repeat(?, ?) FROM seq_1_to_100000"
    assert failed.failure.is_disconnect
    assert failed.failure.status_code == "2013"


def test_an_outage_before_the_first_connection_ends_with_it(case: Case, mariadb: Mariadb) -> None:
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader], shutdown_on_exit=False), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    config = Config(synchronous=True)
    pipeline = Pipeline(tracer_provider=tracers, meter_provider=meters, config=config)
    recovered: list[DatabaseRecovered] = []
    pipeline.bus.subscribe(
        lambda batch: recovered.extend(event for event, _ in batch), DatabaseRecovered, name="test"
    )
    name = f"late_{case.namespace}"
    engine = case.make(mariadb.url(name, f"mysql+{case.driver}"))
    pipeline.attach(engine)

    def scene() -> None:
        with pytest.raises(exc.OperationalError):
            engine.connect()
        with case.make(case.url).connect() as other:
            other.exec_driver_sql(f"CREATE DATABASE {name}")
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 AS one")).all()

    case.run(scene)
    pipeline.flush()
    metrics = metrics_of(reader)
    pipeline.close()
    meters.shutdown()
    assert [event.database.system_name for event in recovered] == [DatabaseType.MARIADB]
    assert values_of(metrics, "database.connection.status", "db.system.name") == {("mariadb",): 1}
    durations = points_of(metrics, "db.client.operation.duration")
    assert {point.attributes["db.system.name"] for point in durations} == {"mariadb"}
    (select,) = (span for span in spans.get_finished_spans() if span.name == "SELECT")
    assert select.attributes["db.system.name"] == "mariadb"
    assert select.attributes["db.namespace"] == name
