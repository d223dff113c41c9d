"""What is most frequent is only noted on the caller's thread, and tells the same for that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from sqlalchemy import Engine, NullPool, Pool, create_engine, event, text

from otel_dbevents.drafts import Draft
from otel_dbevents.events import (
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    DatabaseConnectionEstablished,
    Event,
    QueryExecuted,
)
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.pool.checkin import closed
from otel_dbevents.sources.watch import Notice

SELECT = text("SELECT 1")
SPAN = NonRecordingSpan(SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1)))


class Told:
    """Keeps events and drafts in their order."""

    def __init__(self) -> None:
        self.items: list[Event | Draft] = []

    def publish(self, told: Event, _context: Any) -> None:
        self.items.append(told)

    def defer(self, draft: Draft) -> None:
        self.items.append(draft)

    def events(self) -> list[Event]:
        """Make and forget them."""
        items, self.items = self.items, []
        found: list[Event] = []
        for item in items:
            found.extend(item.events() if isinstance(item, Draft) else (item,))
        return found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def source(told: Told) -> Iterator[EngineSource]:
    made = EngineSource(told.publish, defer=told.defer)
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def engine(tmp_path: Path, source: EngineSource) -> Iterator[Engine]:
    assert source is not None
    made = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=NullPool)
    yield made
    made.dispose()


@pytest.fixture
def in_span() -> Iterator[Context]:
    context = trace.set_span_in_context(SPAN, Context())
    token = otel_context.attach(context)
    yield context
    otel_context.detach(token)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(each) for each in events]


def test_a_connection_and_its_queries_are_noted_and_nothing_is_made_of_them(
    told: Told, engine: Engine, in_span: Context
) -> None:
    with engine.connect() as connection:
        connection.execute(SELECT).all()
    drafts = [item for item in told.items if isinstance(item, Draft)]
    assert len(drafts) == 3
    assert all(each.made is None and each.context is in_span for each in drafts)
    events = told.events()
    assert kinds(events) == [
        DatabaseConnectionEstablished,
        ConnectionCheckedOut,
        QueryExecuted,
        ConnectionCheckedIn,
        ConnectionClosed,
    ]
    assert {each.parent and each.parent.span_id for each in events} == {(6).to_bytes(8, "big")}
    assert len({each.id for each in events}) == len(events)
    times = [each.time_ns for each in events]
    assert times == sorted(times)


def test_a_slow_query_is_made_at_once_with_its_place(
    told: Told, tmp_path: Path, source: EngineSource
) -> None:
    source.detach()
    eager = EngineSource(told.publish, defer=told.defer, notice=Notice(slow_ns=1))
    eager.attach()
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.connect() as connection:
        connection.execute(SELECT).all()
    engine.dispose()
    eager.detach()
    (query,) = [each for each in told.items if isinstance(each, QueryExecuted)]
    assert query.called_from is not None
    assert query.called_from.file_path.endswith("test_drafts.py")


def test_silence_that_was_asked_for_is_kept_and_one_that_was_taken_back_is_none(
    told: Told, engine: Engine
) -> None:
    silent = otel_context.set_value("suppress_instrumentation", True)
    token = otel_context.attach(silent)
    with engine.connect() as connection:
        connection.execute(SELECT).all()
    otel_context.detach(token)
    assert kinds(told.events()) == [ConnectionClosed]
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", False))
    with engine.connect() as connection:
        connection.execute(SELECT).all()
    otel_context.detach(token)
    assert len(told.events()) == 5


def test_a_connection_that_was_invalidated_comes_back_unclosed_once_more(
    told: Told, engine: Engine
) -> None:
    """It was closed before: its return is told by itself, and not with a close that never comes."""
    with engine.connect() as connection:
        connection.invalidate()
    assert kinds(told.events())[-2:] == [ConnectionClosed, ConnectionCheckedIn]


def test_pools_are_let_go_of_with_the_last_source(
    told: Told, engine: Engine, source: EngineSource
) -> None:
    with engine.connect():
        pass
    pool = engine.pool
    assert "_return_conn" in vars(pool)
    engine.dispose()
    with engine.connect():
        pass
    assert kinds(told.events())[-2:] == [ConnectionCheckedIn, ConnectionClosed]
    source.detach()
    assert "_return_conn" not in vars(pool)
    assert "_return_conn" not in vars(engine.pool)
    assert not event.contains(Pool, "close", closed)
    with engine.connect():
        pass
    assert told.events() == []
