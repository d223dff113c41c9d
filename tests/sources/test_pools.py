"""The pool's nine metrics, through the bridge and the SDK, at every moment and for every pool."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, create_engine, exc, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from otel_dbevents.config import Config
from otel_dbevents.events import (
    CheckoutTimedOut,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    DatabaseConnectionFailed,
)
from otel_dbevents.pipeline import Pipeline
from otel_dbevents.sources.engine import EngineSource
from tests.bridge.support import metrics_of, points_of, values_of
from tests.services.process import wait_until
from tests.sources.engines import Case, Told


class Numbers(NamedTuple):
    """What the observed metrics say of one pool; None: not reported."""

    idle: int | None
    used: int | None
    pending: int | None
    max: int | None
    idle_max: int | None
    idle_min: int | None


class Pools:
    """A pipeline that reports metrics only, and a look at what it reports."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.pipeline = Pipeline(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            meter_provider=self.provider,
            config=Config(spans=False, logs=False, history=100),
        )

    def look(self) -> dict[str, Any]:
        self.pipeline.flush()
        return metrics_of(self.reader)

    def numbers(self, pool: str | None = None) -> Numbers:
        found, prefix = self.look(), "db.client.connection."
        key = "db.client.connection.pool.name"
        names = {point.attributes[key] for point in points_of(found, prefix + "count")}
        (name,) = {pool} if pool else names
        states = values_of(found, prefix + "count", key, "db.client.connection.state")

        def one(metric: str) -> Any:
            return values_of(found, prefix + metric, key).get((name,))

        return Numbers(
            states.get((name, "idle")),
            states.get((name, "used")),
            *map(one, ("pending_requests", "max", "idle.max", "idle.min")),
        )

    def counted(self, metric: str) -> int:
        points = points_of(self.look(), f"db.client.connection.{metric}")
        return sum(getattr(point, "count", None) or getattr(point, "value", 0) for point in points)

    def told(self, kind: type) -> list[Any]:
        self.pipeline.flush()
        return [event for event in self.pipeline.bus.history if isinstance(event, kind)]


@pytest.fixture
def pools() -> Iterator[Pools]:
    made = Pools()
    yield made
    made.pipeline.close()
    made.provider.shutdown()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


def limits(pool: type[Pool], case: Case) -> tuple[dict[str, Any], tuple[int | None, ...]]:
    """Return a pool's options, and its ``max``, ``idle.max`` and ``idle.min``."""
    if issubclass(pool, QueuePool):
        return {"pool_size": 1, "max_overflow": 1}, (2, 1, 0)
    if pool is SingletonThreadPool:
        return {"pool_size": 4}, (4, 4, 0)
    return {}, (None, 0, 0) if pool is NullPool else (1, 1, 0)


@pytest.mark.parametrize("kind", [QueuePool, NullPool, StaticPool, AssertionPool])
def test_the_numbers_are_right_while_it_is_out_and_when_it_is_back(
    case: Case, pools: Pools, kind: type[Pool]
) -> None:
    if case.is_async and kind is QueuePool:
        kind = AsyncAdaptedQueuePool
    options, most = limits(kind, case)
    engine = case.engine(poolclass=kind, **options)
    pools.pipeline.attach(engine)

    def scene() -> None:
        assert pools.numbers() == (0, 0, 0, *most)
        with engine.connect() as connection:
            assert pools.numbers() == (0, 1, 0, *most)
            connection.execute(text("SELECT 1"))
        kept = 0 if kind is NullPool else 1
        assert pools.numbers() == (kept, 0, 0, *most)
        engine.connect().close()
        assert pools.numbers() == (kept, 0, 0, *most)
        assert pools.counted("create_time") == (2 if kind is NullPool else 1)
        assert pools.counted("wait_time") == pools.counted("use_time") == 2
        assert pools.counted("timeouts") == 0
        engine.dispose()
        assert pools.numbers() == (0, 0, 0, *most)

    case.run(scene)


def test_overflow_is_in_use_and_then_gone(case: Case, pools: Pools) -> None:
    engine = case.engine(pool_size=1, max_overflow=2)
    pools.pipeline.attach(engine)

    def scene() -> None:
        held = [engine.connect() for _ in range(3)]
        assert pools.numbers()[:4] == (0, 3, 0, 3)
        for connection in held:
            connection.close()
        assert pools.numbers()[:4] == (1, 0, 0, 3)

    case.run(scene)


@pytest.mark.parametrize("kind", [QueuePool, NullPool, StaticPool, AssertionPool])
def test_what_was_out_before_counts_from_the_first_moment(
    case: Case, pools: Pools, kind: type[Pool]
) -> None:
    if case.is_async and kind is QueuePool:
        kind = AsyncAdaptedQueuePool
    engine = case.engine(poolclass=kind)

    def scene() -> None:
        connection = engine.connect()
        pools.pipeline.attach(engine)
        assert pools.numbers()[:2] == (0, 1)
        connection.close()
        assert pools.numbers()[:2] == (0 if kind is NullPool else 1, 0)
        assert not pools.told(ConnectionCheckedIn)  # nobody knows how long it was in use

    case.run(scene)


def test_what_is_out_when_the_pool_is_disposed_of_counts_until_it_is_back(
    case: Case, pools: Pools
) -> None:
    engine = case.engine(pool_size=2)
    early = case.run(engine.connect)
    pools.pipeline.attach(engine)

    def scene() -> None:
        late, idle = engine.connect(), engine.connect()
        idle.close()
        assert pools.numbers()[:2] == (1, 2)
        former = engine.pool
        engine.dispose()
        assert pools.numbers()[:2] == (0, 2)
        with engine.connect():
            assert pools.numbers()[:2] == (0, 3)
        early.close()
        late.close()
        assert pools.numbers()[:2] == (3, 0)  # the former pool keeps what came back open
        former.dispose()
        assert pools.numbers()[:2] == (1, 0)

    case.run(scene)


def test_the_pools_own_dispose_makes_no_number_negative(pools: Pools, url: str) -> None:
    engine = create_engine(url)
    pools.pipeline.attach(engine)
    connection = engine.connect()
    engine.pool.dispose()
    assert pools.numbers()[:2] == (0, 1)
    connection.close()
    assert pools.numbers()[:2] == (1, 0)
    engine.dispose()


def test_a_place_in_the_pool_without_a_connection_is_no_idle_connection(
    case: Case, pools: Pools
) -> None:
    engine = case.engine(pool_size=2)
    pools.pipeline.attach(engine)

    def scene() -> None:
        with engine.connect() as connection:
            connection.invalidate()
            assert pools.numbers()[:2] == (0, 0)
        assert pools.numbers()[:2] == (0, 0)
        with engine.connect():
            assert pools.numbers()[:2] == (0, 1)
        assert pools.numbers()[:2] == (1, 0)

    case.run(scene)


def test_a_detached_connection_is_none_of_the_pools(case: Case, pools: Pools) -> None:
    engine = case.engine()
    pools.pipeline.attach(engine)

    def scene() -> None:
        raw = engine.raw_connection()
        own: Any = raw.dbapi_connection
        raw.detach()
        assert pools.numbers()[:2] == (0, 0)
        # SQLAlchemy leaves the end of a detached async connection to its user
        (own if case.is_async else raw).close()
        assert pools.numbers()[:2] == (0, 0)
        assert pools.counted("use_time") == 0

    case.run(scene)


def test_a_connection_for_each_thread_is_counted_until_its_pool_closes_it(
    pools: Pools, url: str
) -> None:
    engine = create_engine(url, poolclass=SingletonThreadPool, pool_size=3)
    pools.pipeline.attach(engine)
    out, back = threading.Barrier(3), threading.Barrier(3)

    def work() -> None:
        with engine.connect(), engine.connect():
            out.wait(30)
            back.wait(30)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    out.wait(30)
    assert pools.numbers() == (0, 2, 0, 3, 3, 0)
    back.wait(30)
    for thread in threads:
        thread.join()
    assert pools.numbers()[:2] == (2, 0)
    with engine.connect():
        assert pools.numbers()[:2] == (2, 1)
    engine.dispose()
    assert pools.numbers()[:2] == (0, 0)


def test_one_connection_that_several_hold_is_in_use_until_the_last_is_back(
    pools: Pools,
) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    pools.pipeline.attach(engine)
    first, second = engine.connect(), engine.connect()
    assert pools.numbers()[:2] == (0, 1)
    first.close()
    assert pools.numbers()[:2] == (0, 1)
    second.close()
    assert pools.numbers()[:2] == (1, 0)
    engine.dispose()


def test_a_creator_of_the_applications_own_is_measured_as_any_other(
    pools: Pools, tmp_path: Path
) -> None:
    made = []

    def creator() -> sqlite3.Connection:
        made.append(sqlite3.connect(tmp_path / "a.db", check_same_thread=False))
        return made[-1]

    engine = create_engine("sqlite://", creator=creator, poolclass=QueuePool)
    pools.pipeline.attach(engine)
    with engine.connect():
        assert pools.numbers()[:2] == (0, 1)
    assert pools.numbers()[:2] == (1, 0)
    assert pools.counted("create_time") == len(made) == 1
    engine.dispose()


def test_those_who_wait_are_pending_and_those_who_gave_up_are_timeouts(
    pools: Pools, url: str
) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.3)
    pools.pipeline.attach(engine)
    failed: list[BaseException] = []
    seen = threading.Event()

    def wait() -> None:
        try:
            engine.connect().close()
        except exc.TimeoutError as error:
            failed.append(error)

    def wait_again() -> None:
        while not seen.is_set():
            wait()

    with engine.connect():
        threads = [threading.Thread(target=wait_again) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: pools.numbers()[:3] == (0, 1, 2), every_s=0.01)
        seen.set()
        for thread in threads:
            thread.join()
    assert len(failed) >= 2
    assert pools.counted("timeouts") == len(failed)
    assert pools.numbers()[:3] == (1, 0, 0)
    assert pools.counted("wait_time") == 1
    engine.dispose()


async def test_a_task_that_is_cancelled_while_it_waits_is_pending_no_longer(
    pools: Pools, tmp_path: Path
) -> None:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/a.db",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
    )
    pools.pipeline.attach(engine)
    async with engine.connect():
        task = asyncio.create_task(engine.connect().start())  # type: ignore[arg-type]
        while pools.numbers().pending != 1:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pools.numbers()[:3] == (0, 1, 0)
    assert not pools.told(CheckoutTimedOut)
    assert not pools.told(DatabaseConnectionFailed)
    await engine.dispose()


def test_a_pool_without_limits_reports_none(pools: Pools, url: str) -> None:
    engine = create_engine(url, pool_size=0)
    pools.pipeline.attach(engine)
    assert pools.numbers() == (0, 0, 0, None, None, 0)
    engine.dispose()
    pools.pipeline.source.detach()
    engine = create_engine(url, pool_size=2, max_overflow=-1)
    pools.pipeline.attach(engine)
    assert pools.numbers() == (0, 0, 0, None, 2, 0)
    engine.dispose()


def test_a_suppressed_checkout_counts_and_is_not_told(pools: Pools, url: str) -> None:
    engine = create_engine(url)
    pools.pipeline.attach(engine)
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    connection = engine.connect()
    otel_context.detach(token)
    assert pools.numbers()[:2] == (0, 1)
    connection.close()
    assert pools.numbers()[:2] == (1, 0)
    assert not pools.told(ConnectionCheckedOut)
    assert not pools.told(ConnectionCheckedIn)
    engine.dispose()


def test_a_pool_that_refuses_a_second_connection_tells_of_no_failing_database(
    pools: Pools, url: str
) -> None:
    engine = create_engine(url, poolclass=AssertionPool)
    pools.pipeline.attach(engine)
    with engine.connect(), pytest.raises(AssertionError):
        engine.connect()
    assert not pools.told(DatabaseConnectionFailed)
    assert pools.numbers()[:3] == (1, 0, 0)
    engine.dispose()


def test_numbers_go_on_when_listening_stops_and_begins_again(pools: Pools, url: str) -> None:
    engine = create_engine(url)
    pools.pipeline.attach(engine)
    first = engine.connect()
    pools.pipeline.source.detach(engine)
    second = engine.connect()
    pools.pipeline.attach(engine)
    assert pools.numbers()[:2] == (0, 2)
    first.close()
    second.close()
    assert pools.numbers()[:2] == (2, 0)
    engine.dispose()


def test_numbers_are_never_negative_however_many_threads_take_and_give(
    pools: Pools, url: str
) -> None:
    engine = create_engine(url, pool_size=2, max_overflow=2)
    pools.pipeline.attach(engine)

    def work(number: int) -> None:
        for turn in range(60):
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                if turn % 10 == number:
                    connection.invalidate()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(pools.numbers()[:3])
    assert all(number is not None and 0 <= number <= 6 for look in seen for number in look)
    assert pools.numbers()[1:3] == (0, 0)
    engine.dispose()


def held_in_line(engine: Engine) -> Any:
    return engine.connect()


def test_a_timeout_tells_who_holds_the_connections_and_where_and_for_how_long(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine = case.engine(pool_size=1, max_overflow=1, pool_timeout=0.05)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")

    def scene() -> Any:
        with tracer.start_as_current_span("holder") as span:
            held = held_in_line(engine)
        with engine.connect(), pytest.raises(exc.TimeoutError):
            engine.connect()
        held.close()
        return span.get_span_context()

    span = case.run(scene)
    timed_out = told.one(CheckoutTimedOut)
    assert (timed_out.used, timed_out.max) == (2, 2)
    first, second = timed_out.holders
    assert first.parent.trace_id == span.trace_id.to_bytes(16, "big")
    assert first.parent.span_id == span.span_id.to_bytes(8, "big")
    assert first.called_from.function_name.endswith("held_in_line")
    assert first.called_from.file_path.endswith("tests/sources/test_pools.py")
    assert first.called_from.line_number == held_in_line.__code__.co_firstlineno + 1
    assert first.held_ns > second.held_ns >= timed_out.duration_ns
    assert second.parent is None
    assert second.called_from.function_name.endswith("scene")


def test_a_timeout_names_only_those_who_hold_this_pools_connections(told: Told, url: str) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    source = EngineSource(told)
    before = engine.connect()
    source.attach(engine)
    with pytest.raises(exc.TimeoutError):
        engine.connect()
    (unknown,) = told.one(CheckoutTimedOut).holders
    assert unknown.parent is None
    assert unknown.called_from is None
    assert unknown.held_ns <= told.one(CheckoutTimedOut).duration_ns * 1000
    told.forget()
    engine.dispose()
    with engine.connect(), pytest.raises(exc.TimeoutError):
        engine.connect()
    assert len(told.one(CheckoutTimedOut).holders) == 1
    before.invalidate()  # its pool is gone
    before.close()
    source.detach()
    engine.dispose()


@pytest.mark.parametrize("kind", [NullPool, QueuePool])
def test_each_connection_is_told_as_closed_once_however_it_is_closed(
    case: Case, told: Told, source: EngineSource, kind: type[Pool]
) -> None:
    """And no listener of SQLAlchemy's hears of it, which every connection would pay for."""
    if case.is_async and kind is QueuePool:
        kind = AsyncAdaptedQueuePool
    engine = case.engine(poolclass=kind)
    source.attach(engine)

    def scene() -> None:
        engine.connect().close()
        engine.dispose()
        assert len(told.of(ConnectionClosed)) == 1
        with engine.connect() as connection:
            connection.invalidate()
        assert len(told.of(ConnectionClosed)) == 2
        token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
        engine.connect().close()
        engine.dispose()
        otel_context.detach(token)
        assert len(told.of(ConnectionClosed)) == 3
        assert not engine.pool.dispatch.close

    case.run(scene)
    assert len(told.of(ConnectionCheckedOut)) == 2
    assert len(told.of(ConnectionCheckedIn)) == 2
