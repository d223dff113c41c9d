"""Scenes of `tests.harm.at_once`: engines, connections and results that many threads share."""

import gc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any
from unittest.mock import patch

from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.pool import NullPool, Pool, StaticPool

from otel_dbevents.events import (
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    QueryExecuted,
)
from otel_dbevents.living import Living, make_room
from otel_dbevents.llm.turns import Turns
from otel_dbevents.sources import statement
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.pool.checkin import let_go
from tests.harm.together import SELECT, THREADS, at_once, observed, of


def the_first_use(_folder: Path) -> None:
    """Whoever is the first to use an engine: each connection is told, though a filter is asked."""
    for wants in (None, lambda _: sleep(0.002) is None):
        for _ in range(4):
            with observed(wants=wants, poolclass=NullPool) as (engine, told, _source):

                def work(_number: int, engine: Engine = engine) -> None:
                    with engine.connect() as connection:
                        connection.execute(SELECT).all()

                with patch("otel_dbevents.sources.choosing._PATIENCE_S", 60):
                    at_once(work)
                assert of(told, DatabaseConnectionEstablished) == THREADS, Counter(map(type, told))
                assert of(told, QueryExecuted) == THREADS


def a_shared_connection(_folder: Path) -> None:
    """The queries of threads that share one connection are told once at most, with their own rows.

    How many these are is SQLite's: one thread's rollback may begin another's result anew. What runs
    during that rollback is taken for a part of it.
    """
    seen, how = list[int](), {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    with observed(**how) as (engine, told, _):

        def work(_number: int) -> None:
            with engine.connect() as connection:
                for _ in range(40):
                    with suppress(exc.DBAPIError):  # what SQLite makes of it is its own
                        seen.append(len(connection.execute(SELECT).all()))

        at_once(work)
        rows = Counter(each.returned_rows for each in told if isinstance(each, QueryExecuted))
        assert not rows - Counter(seen), (rows, Counter(seen))
        assert rows


def dropped_results(folder: Path) -> None:
    """A result that nobody reads is told once, whichever thread lets it go."""
    with observed(f"sqlite:///{folder / 'dropped.db'}", pool_size=THREADS) as (engine, told, _):
        left: list[Any] = []

        def work(number: int) -> None:
            with engine.connect() as connection:
                for run in range(30):
                    left.append(connection.execute(SELECT))
                    if number % 2 == run % 2 and left:
                        left.pop()

        at_once(work)
        left.clear()
        gc.collect()
        assert of(told, QueryExecuted) == THREADS * 30


def failed_attempts(folder: Path) -> None:
    """Failed attempts to connect have each a number of its own."""
    url = f"sqlite:///{folder / 'nowhere' / 'x.db'}"
    with observed(url, poolclass=NullPool) as (engine, told, _):

        def work(_number: int) -> None:
            for _ in range(10):
                try:
                    engine.connect()
                except exc.OperationalError:
                    continue

        at_once(work)
        numbers = [each.retry_count for each in told if isinstance(each, DatabaseConnectionFailed)]
        assert sorted(numbers) == list(range(THREADS * 10))


def come_and_go(_folder: Path) -> None:
    """The pools are read, and let go of, while other threads make engines and drop them."""
    kept: list[Engine] = []
    with observed() as (engine, _told, source):

        def work(number: int) -> None:
            for _ in range(30):
                if number % 4 == 0:
                    list(source.pools())
                    source.engines_of(database)
                elif number % 4 == 1:
                    let_go()
                else:
                    kept.append(create_engine("sqlite://", poolclass=NullPool))
                    with kept[-1].connect():
                        pass

        with engine.connect():
            database = next(reading.database for reading in source.pools())
        at_once(work)


def what_is_bounded(_folder: Path) -> None:
    """More statements than are remembered, more open spans, more of anything."""
    turns, tracer = Turns(most=20), TracerProvider().get_tracer("agents")
    living, kept = Living[Any](), [Living[Any]() for _ in range(300)]
    for each in kept:
        living.add(each)
    known: dict[int, int] = {}

    def work(number: int) -> None:
        texts = statement.Statements("sqlite")
        shared.append(texts)
        for run in range(60):
            said = shared[0].find(f"SELECT {number} AS a{number}_{run}", None).statement.query_text
            assert said == f"SELECT ? AS a{number}_{run}", said
            span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
            turns._open.started(span, None)
            if run % 3:
                span.end()
            thing = Living[Any]()
            living.add(thing)
            assert thing in living
            assert thing in living.all()
            if run % 2:
                living.discard(thing)
            known[run * THREADS + number] = run
            make_room(known, 10)

    shared = [statement.Statements("sqlite")]
    with patch("otel_dbevents.sources.statement._CAPACITY", 30):
        at_once(work)
    assert turns._guard.errors == 0, turns._guard.last
    assert len(turns) <= 20 + THREADS
    gc.collect()
    assert living.all() == kept
    assert len(known) < 10 + THREADS


def a_listener_of_the_applications(_folder: Path) -> None:
    """We come and go while threads call listeners: none of them sees a list that changes."""

    def invalidated(*_: Any) -> None:
        pass

    event.listen(Pool, "invalidate", invalidated)
    engine = create_engine("sqlite://", poolclass=NullPool)

    def work(number: int) -> None:
        for _ in range(20):
            if number == 0:
                source = EngineSource(lambda *_: None)
                source.attach(engine)
                source.detach()
            else:
                with engine.connect() as connection:
                    connection.invalidate()

    try:
        at_once(work)
    finally:
        event.remove(Pool, "invalidate", invalidated)
