"""Reading a result: what fails while rows are fetched, and what nobody reads to its end."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, exc, text
from sqlalchemy.engine.cursor import _DEFAULT_FETCH

from otel_dbevents.compat import has_gil
from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.connection import INFO_KEY
from tests.sources.engines import Told

NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 9) "


@pytest.fixture
def connection(told: Told, source: Any) -> Iterator[Connection]:
    """A connection whose function `spoil` fails at the fifth row."""

    def spoil(number: int) -> int:
        if number == 5:
            raise ValueError("spoilt")
        return number

    engine = create_engine("sqlite://")
    with engine.connect() as made:
        made.connection.driver_connection.create_function("spoil", 1, spoil)
        told.forget()
        yield made
    engine.dispose()


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda result: result.all(), id="fetchall"),
        pytest.param(lambda result: [result.fetchone() for _ in range(9)], id="fetchone"),
        pytest.param(lambda result: result.fetchmany(9), id="fetchmany"),
        pytest.param(lambda result: list(result.yield_per(2)), id="yield_per"),
        pytest.param(lambda result: result.yield_per(2).fetchmany(9), id="chunks"),
        pytest.param(lambda result: result.yield_per(2).all(), id="all chunks"),
    ],
)
def test_an_error_while_fetching_makes_the_query_a_failed_one(
    connection: Connection, told: Told, read: Callable[[Any], Any]
) -> None:
    result = connection.execute(text(NUMBERS + "SELECT spoil(i) FROM n"))
    assert told.events == []
    with pytest.raises(exc.OperationalError):
        read(result)
    result.close()
    failed = told.one(QueryFailed)
    assert failed.failure.error_type == "SQLITE_ERROR"
    assert failed.duration_ns > 0
    assert not told.of(QueryExecuted)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda result: result.fetchall(), id="fetchall"),
        pytest.param(lambda result: list(result), id="iteration"),
        pytest.param(lambda result: [result.fetchmany(4) for _ in range(4)], id="fetchmany"),
        pytest.param(lambda result: list(result.yield_per(4)), id="yield_per"),
        pytest.param(lambda result: result.yield_per(4).all(), id="all chunks"),
        pytest.param(
            lambda result: [result.yield_per(4).fetchmany(4) for _ in range(4)], id="chunks"
        ),
    ],
)
def test_all_rows_are_counted(
    connection: Connection, told: Told, read: Callable[[Any], Any]
) -> None:
    result = connection.execute(text(NUMBERS + "SELECT i FROM n"))
    read(result)
    result.close()
    assert told.one(QueryExecuted).returned_rows == 9


@pytest.mark.parametrize("chunks", [False, True])
def test_a_result_that_is_dropped_is_told(connection: Connection, told: Told, chunks: bool) -> None:
    result = connection.execute(text(NUMBERS + "SELECT i FROM n"))
    if chunks:
        result = result.yield_per(2)
    result.fetchone()
    del result
    gc.collect()
    assert told.one(QueryExecuted).returned_rows == 1


def test_a_reading_is_used_again_for_the_next_query(connection: Connection) -> None:
    state = connection.info[INFO_KEY]
    connection.execute(text("SELECT 1")).all()
    spare = id(state.spare)  # not itself: somebody would have it
    result = connection.execute(text("SELECT 2"))
    assert (id(result.cursor_strategy) == spare) is has_gil()  # without, each query has its own
    if has_gil():
        assert state.spare is None
        result.all()
        assert id(state.spare) == spare


def test_what_somebody_still_has_is_not_used_again(connection: Connection, told: Told) -> None:
    results = [connection.execute(text(NUMBERS + "SELECT i FROM n")) for _ in range(3)]
    strategies = [result.cursor_strategy for result in results]
    assert len({*map(id, strategies)}) == 3
    for number, result in enumerate(reversed(results)):
        result.fetchmany(number + 1)
        result.close()
    kept = connection.execute(text("SELECT 1"))  # all of them are done, and still referred to
    assert kept.cursor_strategy not in strategies
    kept.all()
    assert [query.returned_rows for query in told.of(QueryExecuted)] == [1, 2, 3, 1]


def test_a_reading_that_waits_for_the_next_query_keeps_nothing(connection: Connection) -> None:
    connection.execute(text("SELECT 1")).all()
    spare = connection.info[INFO_KEY].spare
    assert spare.context is spare.state is spare.watch is None


def test_where_another_fetch_strategy_takes_our_place_the_number_is_not_known(
    connection: Connection, told: Told
) -> None:
    """As some dialects do once the statement has been executed."""

    @event.listens_for(connection, "after_cursor_execute")
    def replace(_c: Any, _cursor: Any, _s: Any, _p: Any, context: Any, _many: Any) -> None:
        context.cursor_fetch_strategy = _DEFAULT_FETCH

    assert len(connection.execute(text(NUMBERS + "SELECT i FROM n")).all()) == 9
    assert told.one(QueryExecuted).returned_rows == -1
