"""What instrumentations of SQLAlchemy are known to get wrong, from the application to the spans."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from sqlalchemy import Engine, create_engine, event, exc, select, text
from sqlalchemy.pool import Pool

import otel_dbevents
from otel_dbevents import Config
from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.engine import EngineSource
from tests.sources.engines import PLACES, Case, Told
from tests.sources.shop import add_users, metadata, users


class Telemetry:
    """Providers in memory, and what `otel_dbevents.instrument` takes."""

    def __init__(self, *processors: SpanProcessor, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        for processor in (*processors, SimpleSpanProcessor(self.exporter)):
            self.tracers.add_span_processor(processor)
        self.meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)

    def instrument(self, engine: Any = None, **options: Any) -> otel_dbevents.Pipeline:
        config = Config(**{"synchronous": True, "logs": False, "history": 100, **options})
        return otel_dbevents.instrument(
            engine, tracer_provider=self.tracers, meter_provider=self.meters, config=config
        )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans of SELECTs: a connection that is waited for has spans of its own."""
        finished = self.exporter.get_finished_spans()
        return [span for span in finished if span.name.upper().startswith("SELECT")]

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]


@pytest.fixture(autouse=True)
def uninstrumented() -> Iterator[None]:
    yield
    otel_dbevents.uninstrument()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine(url)
    metadata.create_all(made)
    yield made
    made.dispose()


def query(engine: Engine, sql: str = "SELECT 1 AS one") -> None:
    with engine.connect() as connection:
        connection.execute(text(sql)).all()


BEFORE_ASYNCIO = """
import asyncio
import sys

import otel_dbevents
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text

exporter, tracers = InMemorySpanExporter(), TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
config = otel_dbevents.Config(metrics=False, logs=False)
otel_dbevents.instrument(tracer_provider=tracers, config=config)
assert "sqlalchemy.ext.asyncio" not in sys.modules
from sqlalchemy.ext.asyncio import create_async_engine


async def main():
    engine = create_async_engine("sqlite+aiosqlite://")
    otel_dbevents.instrument(engine)
    otel_dbevents.instrument(engine.sync_engine)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await engine.dispose()


asyncio.run(main())
with create_engine("sqlite://").connect() as connection:
    connection.execute(text("SELECT 2"))
otel_dbevents.uninstrument()
otel_dbevents.uninstrument()
with create_engine("sqlite://").connect() as connection:
    connection.execute(text("SELECT 3"))
names = [span.name for span in exporter.get_finished_spans()]
print(*[name for name in names if name.startswith("SELECT")])
"""


def test_asyncio_imported_after_us_and_an_engine_named_twice_give_one_span_a_query() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BEFORE_ASYNCIO], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split() == ["SELECT", "SELECT"], ran.stderr


def test_a_failure_that_no_error_event_fires_for_is_told_and_nothing_stays_open(
    engine: Engine,
) -> None:
    telemetry = Telemetry()
    telemetry.instrument(engine)
    with telemetry.tracers.get_tracer("test").start_as_current_span("app") as above:
        with engine.connect() as connection:
            quiet = connection.execution_options(skip_user_error_events=True)
            with pytest.raises(exc.DBAPIError):
                quiet.execute(text("SELECT nosuch FROM users"))
        query(engine)
    failed, fine = telemetry.spans()[0], telemetry.spans()[-1]
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "SQLITE_ERROR"
    for span in (failed, fine):
        assert span.parent is not None
        assert span.parent.span_id == above.get_span_context().span_id


def test_a_listener_of_the_applications_that_raises_hides_no_failure_and_opens_no_span(
    engine: Engine,
) -> None:
    @event.listens_for(engine, "handle_error")
    def translate(_context: Any) -> None:
        raise LookupError("the application's own")

    telemetry = Telemetry()
    telemetry.instrument(engine)
    with engine.connect() as connection, pytest.raises(LookupError):
        connection.execute(text("SELECT nosuch FROM users"))
    assert telemetry.names() == ["SELECT users"]
    telemetry.exporter.clear()

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(*_arguments: Any) -> None:
        raise PermissionError

    with engine.connect() as connection, pytest.raises((PermissionError, LookupError)):
        connection.execute(select(users))
    assert telemetry.names() == []  # the driver was never called
    event.remove(engine, "before_cursor_execute", refuse)
    query(engine)
    assert telemetry.names() == ["SELECT"]


class Broken(SpanProcessor):
    """A span processor that fails whenever it can."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("the processor is broken")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("the processor is broken")


@pytest.mark.swallows
def test_a_span_processor_that_raises_fails_no_query_commit_or_checkout(engine: Engine) -> None:
    pipeline = Telemetry(Broken()).instrument(engine)
    with engine.begin() as connection:
        add_users(connection, "ada")
        assert connection.scalar(text("SELECT count(*) FROM users")) == 1
    with engine.connect() as connection, pytest.raises(exc.DBAPIError):
        connection.execute(text("SELECT nosuch"))
    assert [type(each) for each in pipeline.bus.history if isinstance(each, QueryFailed)]


def test_each_engine_that_is_named_is_seen_and_no_other(engine: Engine, tmp_path: Path) -> None:
    second, other = (create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in "bc")
    telemetry = Telemetry()
    telemetry.instrument(engine)
    otel_dbevents.instrument(second)
    for each in (engine, second, other):
        query(each)
    found = [span.attributes and span.attributes["db.namespace"] for span in telemetry.spans()]
    assert found == ["shop.db", "b.db"]
    second.dispose()
    other.dispose()


def test_an_operations_name_comes_from_the_statements_tree_and_never_from_text(
    engine: Engine,
) -> None:
    telemetry = Telemetry()
    telemetry.instrument(engine)
    query(engine, "-- how many\nselect count(*) from users")
    with engine.connect() as connection:
        connection.execute(select(users)).all()
    of_text, of_tree = (span.attributes or {} for span in telemetry.spans())
    assert telemetry.names() == ["select users", "SELECT users"]
    assert "db.operation.name" not in of_text
    assert of_tree["db.operation.name"] == "SELECT"


class Asked(Sampler):
    """A sampler that keeps all, and what it was shown."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    def should_sample(self, *arguments: Any, **options: Any) -> SamplingResult:
        attributes = options.get("attributes", arguments[4] if len(arguments) > 4 else None)
        self.shown.append(dict(attributes or {}))
        return ALWAYS_ON.should_sample(*arguments, **options)

    def get_description(self) -> str:
        return "Asked"


def test_a_sampler_is_shown_what_the_span_will_say(engine: Engine) -> None:
    sampler = Asked()
    telemetry = Telemetry(sampler=sampler)
    telemetry.instrument(engine)
    query(engine)
    (span,) = telemetry.spans()
    shown = next(each for each in sampler.shown if "db.query.text" in each)
    assert shown == dict(span.attributes or {})
    assert shown["db.namespace"] == "shop.db"
    assert shown["db.query.summary"] == "SELECT"


def sent(engine: Engine) -> list[str]:
    """Return all that SQLite is sent while a few things are done."""
    seen: list[str] = []
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(seen.append)
        connection.execute(select(users)).all()
        add_users(connection, "ada")
        with pytest.raises(exc.DBAPIError):
            connection.execute(text("SELECT nosuch"))
        connection.rollback()
        driver.set_trace_callback(None)
    return seen


def test_the_database_is_sent_the_same_with_us_and_without(engine: Engine) -> None:
    without = sent(engine)
    Telemetry().instrument(engine)
    assert sent(engine) == without


@pytest.mark.needs("counts_statements")
def test_a_server_is_sent_as_many_statements_with_us_as_without(case: Case, told: Told) -> None:
    engine, source = case.engine(), EngineSource(told)

    def scene() -> list[int]:
        counts = []
        for listening in (False, True):
            if listening:
                source.attach(engine)
            for _ in range(2):  # the first time the pool opens a connection
                with engine.connect() as connection:
                    before = _questions(connection)
                    connection.execute(text("SELECT 1"))
                    connection.commit()
                    found = _questions(connection) - before
            counts.append(found)
        return counts

    without, with_us = case.run(scene)
    source.detach()
    assert with_us == without
    assert told.of(QueryExecuted)


def _questions(connection: Any) -> int:
    return int(connection.execute(text("SHOW SESSION STATUS LIKE 'Questions'")).one()[1])


def test_the_comment_carries_a_trace_that_is_not_sampled_too(engine: Engine) -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    telemetry.instrument(engine, sqlcommenter=True)
    seen: list[str] = []
    with (
        telemetry.tracers.get_tracer("test").start_as_current_span("app") as above,
        engine.connect() as connection,
    ):
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(seen.append)
        connection.execute(text("SELECT '100%' -- all of it"))
        driver.set_trace_callback(None)
    trace_id = f"{above.get_span_context().trace_id:032x}"
    (statement,) = [each for each in seen if "SELECT" in each]
    first, second = statement.split("\n")
    assert first == "SELECT '100%' -- all of it"
    assert second.startswith(f"/*traceparent='00-{trace_id}-")
    flags = second.removesuffix("'*/").rpartition("-")[2]
    assert not int(flags, 16) & 1


@pytest.mark.parametrize("name", ["checkin", "checkout", "connect", "close"])
def test_letting_go_in_a_listener_of_the_applications_disturbs_no_listener(
    url: str, told: Told, name: str
) -> None:
    stood = [vars(owner)[each] for owner, each in PLACES]
    engine, source = create_engine(url), EngineSource(told)
    called: list[str] = []

    def first(*_arguments: Any) -> None:
        called.append("first")
        source.detach()

    def second(*_arguments: Any) -> None:
        called.append("second")

    source.attach()
    for listener in (first, second):
        event.listen(Pool, name, listener)
    try:
        query(engine)
        engine.dispose()
    finally:
        for listener in (first, second):
            event.remove(Pool, name, listener)
    assert called == ["first", "second"]
    told.forget()
    query(engine)
    assert not told.events
    source.attach()
    source.detach()
    assert [vars(owner)[each] for owner, each in PLACES] == stood
    engine.dispose()


def test_turning_it_on_and_off_while_threads_are_at_work_disturbs_none(
    url: str, told: Told
) -> None:
    engine, source = create_engine(url, pool_size=4), EngineSource(told)
    errors: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                query(engine)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        source.attach()
        source.detach()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    engine.dispose()


def test_names_that_were_imported_before_see_nothing_of_us_afterwards(engine: Engine) -> None:
    telemetry = Telemetry()
    telemetry.instrument()
    query(engine)
    otel_dbevents.uninstrument()
    otel_dbevents.uninstrument()
    late = create_engine("sqlite://")
    query(engine)
    query(late)
    late.dispose()
    assert telemetry.names() == ["SELECT"]
    assert not {"do_execute", "do_commit", "do_ping"} & set(vars(engine.dialect))


def test_what_is_suppressed_only_at_its_beginning_or_end_leaves_nothing_behind(
    engine: Engine, told: Told
) -> None:
    source = EngineSource(told)
    source.attach(engine)
    quiet = otel_context.set_value("suppress_instrumentation", True)
    for suppress_first in (True, False):
        token = otel_context.attach(quiet) if suppress_first else None
        connection = engine.connect()
        if token is not None:
            otel_context.detach(token)
        connection.execute(text("SELECT 1 AS one")).all()
        token = None if suppress_first else otel_context.attach(quiet)
        connection.close()
        if token is not None:
            otel_context.detach(token)
        (reading,) = source.pools()
        assert (reading.used, reading.idle) == (0, 1)
    assert len(told.of(QueryExecuted)) == 2
    assert not told.of(QueryFailed)
    source.detach()
