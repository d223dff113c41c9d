"""INSERTs of many rows that SQLAlchemy sends in several calls: one operation, told once."""

import pytest
from sqlalchemy import Engine, create_engine, event, exc, insert
from sqlalchemy.orm import Session

from otel_dbevents.events import (
    QueryExecuted,
    QueryFailed,
    TransactionCommitted,
    TransactionRolledBack,
)
from otel_dbevents.sources.engine import EngineSource
from tests.sources.engines import Case, Told
from tests.sources.shop import Author, Base, metadata, users


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine that sends ten rows at a time."""
    made = case.engine(insertmanyvalues_page_size=10)
    case.run(metadata.create_all, made)
    case.run(Base.metadata.create_all, made)
    told.forget()
    return made


def test_an_insert_in_pages_is_one_query_with_its_true_size(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> list[int]:
        with engine.begin() as connection:
            rows = [{"name": f"user {number}"} for number in range(25)]
            made = connection.execute(insert(users).returning(users.c.id), rows)
            return list(made.scalars())

    assert len(case.run(scene)) == 25
    query = told.one(QueryExecuted)
    assert (query.batch_size, query.returned_rows) == (25, 25)
    assert query.statement.query_summary == "INSERT users"
    assert "user 3" not in str(query.to_dict())
    assert query.duration_ns > 0
    assert told.one(TransactionCommitted).statement_count == 1


def test_a_unit_of_work_is_one_query(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with Session(engine) as session:
            session.add_all([Author(name=f"author {number}") for number in range(25)])
            session.commit()

    case.run(scene)
    assert told.one(QueryExecuted).batch_size == 25
    assert told.one(TransactionCommitted).statement_count == 1


def test_a_page_that_fails_makes_the_whole_a_failed_query(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with engine.begin() as connection:
            rows = [{"id": number % 15, "name": "x"} for number in range(1, 26)]
            connection.execute(insert(users).returning(users.c.id), rows)

    with pytest.raises((exc.IntegrityError, ValueError)):
        case.run(scene)
    assert told.one(QueryFailed).batch_size == 25
    assert not told.of(QueryExecuted)
    assert told.one(TransactionRolledBack).statement_count == 1


def test_what_was_sent_before_somebody_elses_fault_is_told(
    told: Told, source: EngineSource
) -> None:
    engine = create_engine("sqlite://", insertmanyvalues_page_size=10)
    metadata.create_all(engine)
    told.forget()

    @event.listens_for(engine, "before_cursor_execute")
    def give_up(*_arguments: object) -> None:
        if len(calls) == 2:
            raise RuntimeError("enough")
        calls.append(1)

    calls: list[int] = []
    rows = [{"name": f"user {number}"} for number in range(25)]
    with pytest.raises(RuntimeError), engine.begin() as connection:
        connection.execute(insert(users).returning(users.c.id), rows)
    assert told.one(QueryExecuted).batch_size == 20
    engine.dispose()
