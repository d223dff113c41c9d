"""The caller's thread takes none of our locks, however many run queries at once."""

import asyncio
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import time_ns
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from otel_dbevents.bus.buffer import Buffer
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.compat import has_gil
from otel_dbevents.events import (
    Database,
    DatabaseType,
    Environment,
    QueryExecuted,
    Statement,
)
from otel_dbevents.sources import engine as engines
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.guarding import guard
from tests.bus.contract import PATIENCE, Sink

CALLERS, EACH = 8, 50
SELECT = text("SELECT 1")


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    made = MemoryBus(history=0)
    yield made
    assert made.close(PATIENCE)


@contextmanager
def all_locks_held(bus: MemoryBus, subscription: Any) -> Iterator[None]:
    """Hold what another thread could ever hold, but for what the worker itself needs."""
    held = (
        bus._lock,
        bus._losses._lock,
        bus._within._left._lock,
        subscription.buffer._lock,
        subscription.losses._lock,
        subscription._starting,
        subscription._idle,
        guard._lock,
        engines._lock,
    )
    with ExitStack() as stack:
        for lock in held:
            stack.enter_context(lock)
        yield


def queries(sink: Sink) -> int:
    return sum(isinstance(each, QueryExecuted) for each in sink.events)


def test_eight_threads_wait_for_no_lock_of_ours(bus: MemoryBus, tmp_path: Path) -> None:
    sink = Sink()
    subscription, source = bus.subscribe(sink), EngineSource(bus.publish)
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", pool_size=CALLERS)
    source.attach(engine)
    ready, go = threading.Barrier(CALLERS + 1), threading.Event()

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(SELECT).all()
            connection.rollback()
            ready.wait(PATIENCE)
            go.wait(PATIENCE)
            for _ in range(EACH):
                connection.execute(SELECT).all()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    ready.wait(PATIENCE)
    assert bus.flush(PATIENCE)
    with all_locks_held(bus, subscription):
        go.set()
        for thread in threads:
            thread.join(PATIENCE)
        waiting = [thread for thread in threads if thread.is_alive()]
    assert not waiting
    assert bus.flush(PATIENCE)
    assert queries(sink) == CALLERS * (EACH + 1)
    source.detach()
    engine.dispose()


def test_eight_tasks_wait_for_no_lock_of_ours(bus: MemoryBus, tmp_path: Path) -> None:
    sink = Sink()
    subscription, source = bus.subscribe(sink), EngineSource(bus.publish)
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    source.attach(engine)

    async def work(ready: asyncio.Semaphore, go: asyncio.Event) -> None:
        async with engine.connect() as connection:
            await connection.execute(SELECT)
            await connection.rollback()
            ready.release()
            await go.wait()
            for _ in range(EACH):
                await connection.execute(SELECT)

    async def scene() -> None:
        ready, go = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(work(ready, go)) for _ in range(CALLERS)]
        for _ in tasks:
            await ready.acquire()
        assert bus.flush(PATIENCE)
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with all_locks_held(bus, subscription):
                holding.set()
                done.wait(PATIENCE)

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        assert holding.wait(PATIENCE)
        go.set()
        ended, waiting = await asyncio.wait(tasks, timeout=PATIENCE)
        done.set()
        holder.join(PATIENCE)
        assert not waiting
        assert len(ended) == CALLERS
        await engine.dispose()

    asyncio.run(scene())
    assert bus.flush(PATIENCE)
    assert queries(sink) == CALLERS * (EACH + 1)
    source.detach()


def test_a_query_that_waits_in_a_buffer_takes_at_most_250_bytes() -> None:
    number, begun = 100_000, time_ns()
    database, statement = Database(Environment.LOCAL, DatabaseType.SQLITE), Statement("SELECT 1")
    context = {"a span": None}
    buffer: Buffer[Any] = Buffer(number)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for each in range(number):
            end, duration, fetch = begun + each, 9_000 + each, 9_500 + each
            reading = 900 + each
            draft = QueryDraft(context, database, statement, end, duration, 3, -1, fetch, reading)
            buffer.put(draft)
            del draft
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    most = 250 if has_gil() else 350  # without, the head of each object is twice as large
    assert (after - before) / number <= most
