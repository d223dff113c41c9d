"""Results that are read in chunks: how many rows, how long until the first, until when."""

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, exc, select, text

from otel_dbevents.events import QueryExecuted, QueryFailed, TransactionReleased
from otel_dbevents.sources.engine import EngineSource
from tests.sources.engines import Case, Told
from tests.sources.shop import add_users, metadata, users


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine with 25 users; what that told is forgotten."""
    made = case.engine()

    def fill() -> None:
        with made.begin() as connection:
            metadata.create_all(connection)
            add_users(connection, *(f"user {number}" for number in range(25)))

    case.run(fill)
    told.forget()
    return made


def _read_some(result: Any) -> int:
    found = len(result.fetchmany(7))
    result.close()
    return found


@pytest.mark.parametrize(
    ("read", "rows"),
    [
        pytest.param(lambda result: len(result.all()), 25, id="all"),
        pytest.param(lambda result: len(list(result)), 25, id="iteration"),
        pytest.param(lambda result: len(list(result.partitions(10))), 25, id="partitions"),
        pytest.param(lambda result: len(result.first()), 1, id="first"),
        pytest.param(_read_some, 7, id="closed"),
    ],
)
@pytest.mark.parametrize("statement", [select(users), text("SELECT * FROM users")])
def test_a_stream_tells_the_rows_that_were_read(
    case: Case, told: Told, engine: Engine, statement: Any, read: Any, rows: int
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            read(connection.execution_options(stream_results=True).execute(statement))

    case.run(scene)
    query = told.one(QueryExecuted)
    assert query.returned_rows == rows
    assert query.fetch_ns > 0
    assert 0 < query.reading_ns <= query.fetch_ns


def test_a_stream_tells_how_long_its_first_row_took(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            result = connection.execution_options(yield_per=10).execute(select(users))
            assert len(list(result.partitions())) == 3

    case.run(scene)
    query = told.one(QueryExecuted)
    assert 0 < query.first_row_ns < query.fetch_ns
    assert query.returned_rows == 25


def test_a_result_that_is_no_stream_has_no_first_row(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.execute(select(users)).all()

    case.run(scene)
    assert told.one(QueryExecuted).first_row_ns == -1


# drivers warn of a server-side cursor that is not closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Previous unbuffered result:UserWarning")
def test_a_stream_that_nobody_closed_is_told_before_its_connection_is_back(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            held.append(connection.execution_options(stream_results=True).execute(select(users)))
            held[0].fetchone()
            assert not told.of(QueryExecuted)

    held: list[Any] = []
    case.run(scene)
    assert told.one(QueryExecuted).returned_rows == 1
    names = told.names()
    assert names.index("QueryExecuted") < names.index("ConnectionCheckedIn")
    held.clear()
    assert told.one(TransactionReleased)


def test_a_stream_whose_first_row_fails_is_a_failed_query(told: Told, source: EngineSource) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        add = connection.connection.driver_connection.create_function
        add("spoil", 1, lambda number: 1 // (number - 1))
        told.forget()
        stream = connection.execution_options(stream_results=True)
        with pytest.raises(exc.OperationalError):
            stream.execute(select(text("spoil(n.i) FROM (SELECT 1 AS i) AS n"))).all()
    assert told.one(QueryFailed).failure.error_type == "SQLITE_ERROR"
    assert not told.of(QueryExecuted)
    engine.dispose()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_rows_are_the_same_as_without_us(told: Told, size: int) -> None:
    """Chunk for chunk: the strategy of SQLAlchemy's that we take the place of is the twin."""
    engine = create_engine("sqlite://")
    seen = []
    source = EngineSource(told)
    with engine.connect() as connection:
        metadata.create_all(connection)
        add_users(connection, *"abcdefghijk")
        for attached in (False, True):
            if attached:
                source.attach(engine)
            stream = connection.execution_options(stream_results=True, max_row_buffer=size)
            result = stream.execute(select(users))
            seen.append((result.fetchone(), result.fetchmany(4), result.fetchmany(), result.all()))
            result.close()
    source.detach()
    assert seen[0] == seen[1]
    assert told.one(QueryExecuted).returned_rows == 11
    engine.dispose()
