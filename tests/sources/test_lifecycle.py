"""Turning it on and off: which engines are seen, and that nothing of ours stays behind."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, create_engine, event, exc, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, Pool, SingletonThreadPool, StaticPool

from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.guarding import guard
from tests.services.process import wait_until
from tests.sources.engines import PLACES, Told


@pytest.fixture(autouse=True)
def no_other_engines() -> None:
    """Listening to every engine means those of earlier tests, too, unless they are gone."""
    gc.collect()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


def run_one(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(select(text("1"))).all()


def test_an_engine_made_before_is_seen_even_on_a_connection_that_is_held(
    told: Told, url: str
) -> None:
    engine = create_engine(url)
    with engine.connect() as held:
        source = EngineSource(told)
        source.attach()
        held.execute(text("SELECT 1")).all()
        source.detach()
    assert told.names() == ["QueryExecuted"]
    engine.dispose()


def test_only_the_engine_that_was_named_is_seen(told: Told, url: str, tmp_path: Path) -> None:
    named, other = create_engine(url), create_engine(f"sqlite:///{tmp_path}/b.db")
    source = EngineSource(told)
    source.attach(named)
    run_one(other)
    assert not told.events
    run_one(named)
    assert told.one(QueryExecuted)
    source.detach()
    named.dispose()
    other.dispose()


async def test_an_async_engine_may_be_named(told: Told, tmp_path: Path) -> None:
    engine, source = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db"), EngineSource(told)
    source.attach(engine)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await engine.dispose()
    source.detach()
    assert told.one(QueryExecuted)


def test_what_is_no_engine_is_refused(told: Told) -> None:
    with pytest.raises(TypeError, match="create_engine"):
        EngineSource(told).attach("sqlite://")


def test_attaching_twice_tells_once_and_detaching_twice_is_harmless(told: Told, url: str) -> None:
    engine, source, second = create_engine(url), EngineSource(told), EngineSource(told)
    source.attach()
    source.attach(engine)
    second.attach()
    run_one(engine)
    assert len(told.of(QueryExecuted)) == 1
    source.detach(engine)
    source.detach(engine)
    source.detach()
    source.detach()
    second.detach()
    engine.dispose()


def test_an_engine_that_was_detached_stays_so_until_it_is_attached_again(
    told: Told, url: str
) -> None:
    engine, source = create_engine(url), EngineSource(told)
    source.attach()
    run_one(engine)
    source.detach(engine)
    told.forget()
    run_one(engine)
    assert told.events == []
    source.attach(engine)
    run_one(engine)
    assert told.one(QueryExecuted)
    source.detach(engine)
    source.attach()
    run_one(engine)
    assert len(told.of(QueryExecuted)) == 2
    source.detach()
    engine.dispose()


def test_an_engine_may_be_detached_before_it_was_ever_seen(told: Told, url: str) -> None:
    source, other = EngineSource(told), EngineSource(told)
    source.attach()
    engine = create_engine(url)
    source.detach(engine)
    run_one(engine)
    assert told.events == []
    other.attach()
    run_one(engine)
    assert len(told.of(QueryExecuted)) == 1
    source.detach()
    other.detach()
    engine.dispose()


def test_nothing_of_ours_stays_behind(told: Told, url: str) -> None:
    stood = [vars(owner)[name] for owner, name in PLACES]
    engine, source = create_engine(url), EngineSource(told)
    own = set(engine.dialect.__dict__)
    source.attach()
    run_one(engine)
    assert not [vars(owner)[name] for owner, name in PLACES if vars(owner)[name] in stood]
    source.detach()
    told.forget()
    run_one(engine)
    assert not told.events
    assert not [name for name in set(engine.dialect.__dict__) - own if name.startswith("do_")]
    assert [vars(owner)[name] for owner, name in PLACES] == stood
    engine.dispose()


def test_what_others_wrapped_after_us_is_left_and_only_passes_on(told: Told, url: str) -> None:
    engine, source = create_engine(url), EngineSource(told)
    source.attach(engine)
    ours = engine.dialect.do_execute
    calls = []

    def theirs(*arguments: object) -> None:
        calls.append(arguments)
        ours(*arguments)

    engine.dialect.do_execute = theirs
    source.detach()
    run_one(engine)
    assert len(calls) == 1
    assert not told.events
    engine.dispose()


def test_an_engine_may_be_attached_again(told: Told, url: str) -> None:
    engine, source = create_engine(url), EngineSource(told)
    for _ in range(2):
        source.attach(engine)
        run_one(engine)
        source.detach()
    assert len(told.of(QueryExecuted)) == 2
    engine.dispose()


def test_an_engine_that_the_filter_does_not_want_is_never_seen(told: Told, tmp_path: Path) -> None:
    asked = []

    def wants(engine: Engine) -> bool:
        if not str(engine.url.database).startswith(str(tmp_path)):
            return False  # another test's
        asked.append(engine.url.database)
        run_one(engine)  # what the filter itself does is not told
        return "audit" not in str(engine.url.database)

    def made(name: str) -> Engine:
        return create_engine(f"sqlite:///{tmp_path}/{name}.db")

    shop, audit = made("shop"), made("audit")
    source = EngineSource(told, wants=wants)
    source.attach(shop)
    source.attach(audit)
    source.attach()
    late, late_audit = made("late"), made("late-audit")
    for engine in (shop, audit, late, late_audit):
        run_one(engine)
        run_one(engine.execution_options(isolation_level="AUTOCOMMIT"))
    assert {event.database.namespace for event in told.events} == {"shop.db", "late.db"}
    assert len(told.of(QueryExecuted)) == 4
    assert {reading.database.namespace for reading in source.pools()} == {"shop.db", "late.db"}
    assert len(asked) == len(set(asked)) == 4
    source.detach()
    for engine in (shop, audit, late, late_audit):
        engine.dispose()


def test_a_source_that_is_detached_while_the_filter_is_asked_takes_no_engine(
    told: Told, url: str
) -> None:
    engine = create_engine(url)
    source = EngineSource(told, wants=lambda _: source.detach() is None)
    source.attach(engine)
    run_one(engine)
    assert told.events == []
    engine.dispose()


def test_an_engine_is_asked_about_again_where_ctrl_c_came_while_it_was(
    told: Told, url: str
) -> None:
    ours: list[Engine] = []
    asked: list[Engine] = []

    def wants(engine: Engine) -> bool:
        if engine not in ours:  # one of another test's, which is there still
            return False
        asked.append(engine)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return True

    source = EngineSource(told, wants=wants)
    source.attach()
    engine = create_engine(url)
    ours.append(engine)
    with pytest.raises(KeyboardInterrupt):
        engine.connect()
    run_one(engine)
    assert told.one(QueryExecuted)
    source.detach()
    engine.dispose()


async def test_the_filter_gets_an_async_engines_sync_engine(told: Told, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    asked: list[Engine] = []
    source = EngineSource(told, wants=lambda each: not asked.append(each))  # type: ignore[func-returns-value]
    source.attach(engine)
    assert asked == [engine.sync_engine]
    source.detach()
    await engine.dispose()


@pytest.mark.parametrize("said", [RuntimeError, None, "yes"])
@pytest.mark.swallows
def test_an_engine_is_seen_where_the_filter_raises_or_says_neither_yes_nor_no(
    told: Told, url: str, said: object
) -> None:
    def wants(engine: Engine) -> bool:
        if said is RuntimeError:
            raise RuntimeError("the filter's own fault")
        return said  # type: ignore[return-value]

    before, engine = guard.errors, create_engine(url)
    source = EngineSource(told, wants=wants)
    source.attach(engine)
    run_one(engine)
    assert told.one(QueryExecuted)
    assert guard.errors == before + 1
    source.detach()
    engine.dispose()


def test_a_dropped_engine_is_collected(told: Told, url: str) -> None:
    source = EngineSource(told)
    source.attach()
    others = len(list(source.pools()))  # a test that failed is shown with what it held
    engine = create_engine(url)
    run_one(engine)
    reference = weakref.ref(engine)
    engine.dispose()
    del engine
    told.forget()
    gc.collect()
    assert reference() is None
    assert len(list(source.pools())) == others
    source.detach()


@pytest.mark.parametrize("pool", [NullPool, StaticPool, SingletonThreadPool])
def test_every_kind_of_pool_is_read(told: Told, url: str, pool: type[Pool]) -> None:
    engine, source = create_engine(url, poolclass=pool), EngineSource(told)
    source.attach(engine)
    with engine.connect():
        (reading,) = source.pools()
        assert (reading.used, reading.idle) == (1, 0)
    (reading,) = source.pools()
    assert reading.used == 0
    assert reading.idle == (0 if pool is NullPool else 1)
    source.detach()
    engine.dispose()


def test_a_connection_that_its_thread_has_already_is_no_second_checkout(
    told: Told, source: EngineSource
) -> None:
    engine = create_engine("sqlite://", poolclass=SingletonThreadPool)
    with engine.connect(), engine.connect():
        pass
    assert told.names() == [
        "DatabaseConnectionEstablished",
        "ConnectionCheckedOut",
        "ConnectionCheckedIn",
    ]
    engine.dispose()


def test_suppressed_work_is_not_told(told: Told, url: str, source: EngineSource) -> None:
    engine = create_engine(url)
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    try:
        run_one(engine)
    finally:
        otel_context.detach(token)
    assert not told.events
    engine.dispose()


@pytest.mark.swallows
def test_a_publisher_that_raises_never_reaches_the_application(url: str) -> None:
    def broken(_event: object, _context: object) -> None:
        raise RuntimeError("telemetry is down")

    source = EngineSource(broken)
    source.attach()
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON").close())
    before = guard.errors
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        connection.execute(
            text("CREATE TABLE b (a REFERENCES a(id) DEFERRABLE INITIALLY DEFERRED)")
        )
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO b VALUES (9)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM b")).scalar() == 0
        with pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT nosuch"))
        with pytest.raises(exc.TimeoutError):
            engine.connect()
        connection.connection.invalidate(soft=True)
        connection.invalidate()
    engine.dispose()
    assert guard.errors >= before + 10
    source.detach()


def test_a_users_own_listener_still_runs(told: Told, url: str, source: EngineSource) -> None:
    engine = create_engine(url)
    seen = []

    @event.listens_for(engine, "do_execute")
    def look(*_arguments: object) -> None:
        seen.append(1)

    run_one(engine)
    assert seen
    assert told.one(QueryExecuted)
    engine.dispose()


async def test_a_cancelled_query_is_a_failed_query(
    told: Told, source: EngineSource, postgresql
) -> None:
    name = postgresql.database()
    engine = create_async_engine(postgresql.url(name, "postgresql+asyncpg"))
    looking = create_engine(postgresql.url(name, "postgresql+psycopg"))
    running = text("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'")

    async def slow() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    def runs() -> bool:
        with looking.connect() as connection:
            return connection.scalar(running) == 1

    task = asyncio.create_task(slow())
    await asyncio.to_thread(wait_until, runs)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    failed = told.one(QueryFailed)
    assert failed.failure.error_type == "asyncio.exceptions.CancelledError"
    looking.dispose()
    await engine.dispose()


async def test_concurrent_tasks_keep_their_own_parents(
    told: Told, source: EngineSource, tmp_path: Path
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    tracer = TracerProvider().get_tracer("test")
    spans = {}

    async def one(number: int) -> None:
        with tracer.start_as_current_span(str(number)) as span:
            spans[number] = span.get_span_context().span_id
            async with engine.connect() as connection:
                await connection.execute(text(f"SELECT 1 AS column_{number}"))

    await asyncio.gather(*(one(number) for number in range(50)))
    await engine.dispose()
    queries = told.of(QueryExecuted)
    assert len(queries) == 50
    for query in queries:
        number = int(query.statement.query_text.rsplit("_", 1)[1])
        assert int.from_bytes(query.parent.span_id, "big") == spans[number]


def test_threads_keep_their_own_parents(told: Told, source: EngineSource, url: str) -> None:
    engine = create_engine(url, pool_size=8)
    tracer = TracerProvider().get_tracer("test")
    spans = {}

    def work(number: int) -> None:
        with tracer.start_as_current_span(str(number)) as span:
            spans[number] = span.get_span_context().span_id
            for _ in range(20):
                with engine.connect() as connection:
                    connection.execute(text(f"SELECT 1 AS column_{number}")).all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queries = told.of(QueryExecuted)
    assert len(queries) == 160
    for query in queries:
        number = int(query.statement.query_text.rsplit("_", 1)[1])
        assert int.from_bytes(query.parent.span_id, "big") == spans[number]
    engine.dispose()
