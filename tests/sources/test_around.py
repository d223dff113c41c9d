"""Around the driver's call: hooks, the comment in the SQL, and a driver with spans of its own."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, bindparam, create_engine, event, exc, insert, select, text

from otel_dbevents import Config, Pipeline
from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.around import Wishes
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.guarding import guard
from tests.sources.engines import Case, Told
from tests.sources.shop import add_users, metadata, users

Listen = Callable[..., None]


@pytest.fixture
def listen(told: Told) -> Iterator[Listen]:
    """Make a source with wishes, and listen."""
    made = []

    def start(**wishes: Any) -> None:
        made.append(EngineSource(told, wishes=Wishes(**wishes)))
        made[-1].attach()

    yield start
    for source in made:
        source.detach()


def make_tables(case: Case, told: Told, engine: Engine) -> None:
    case.run(metadata.create_all, engine)
    told.forget()


def test_the_hooks_attributes_are_the_events(case: Case, told: Told, listen: Listen) -> None:
    def request(context: Any, sql: str, parameters: Any) -> dict[str, Any]:
        assert parameters is not None
        return {"app.words": len(sql.split()), "app.isinsert": context.isinsert}

    def response(_context: Any, cursor: Any, error: BaseException | None) -> dict[str, Any]:
        return {"app.failed": error is not None, "app.columns": ["a", "b"]}

    listen(request_hook=request, response_hook=response)
    engine = case.engine()
    make_tables(case, told, engine)

    def scene() -> None:
        with engine.begin() as connection:
            add_users(connection, "ada")
            connection.execute(select(users)).all()
            connection.execute(text("SELECT nosuch"))

    with contextlib.suppress(exc.DBAPIError, ValueError):
        case.run(scene)
    added, read = told.of(QueryExecuted)
    assert added.attributes["app.isinsert"] is True
    assert read.attributes == {
        "app.words": read.attributes["app.words"],
        "app.isinsert": False,
        "app.failed": False,
        "app.columns": ["a", "b"],
    }
    assert told.one(QueryFailed).attributes["app.failed"] is True


@pytest.mark.parametrize("given", [{"a": object()}, {1: "a"}, "words", {"a": b"bytes"}])
@pytest.mark.swallows
def test_a_hook_that_raises_or_gives_what_no_span_holds_harms_nothing(
    told: Told, listen: Listen, given: Any
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise RuntimeError("a hook's own fault")

    listen(request_hook=broken, response_hook=lambda *_: given)

    before, engine = guard.errors, create_engine("sqlite://")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 41 + 1")) == 42
    assert told.one(QueryExecuted).attributes in (None, {})
    assert guard.errors == before + 2
    engine.dispose()


@pytest.mark.parametrize("which", ["request_hook", "response_hook"])
def test_what_a_hook_raises_to_end_the_process_passes_and_the_next_statement_is_told(
    told: Told, listen: Listen, which: str
) -> None:
    calls = []

    def hook(*_: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 1:
            raise SystemExit(3)
        return {"app.calls": len(calls)}

    listen(**{which: hook})
    before, engine = get_current(), create_engine("sqlite://")
    with pytest.raises(SystemExit), engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 2")) == 2
    assert told.of(QueryExecuted)[-1].attributes == {"app.calls": 2}
    assert get_current() == before
    engine.dispose()


@pytest.mark.parametrize("which", ["request_hook", "response_hook"])
def test_a_hook_may_use_a_database_and_is_not_asked_about_that(
    told: Told, listen: Listen, which: str
) -> None:
    asked, engine, other = [], create_engine("sqlite://"), create_engine("sqlite://")

    def hook(*_: Any) -> dict[str, Any]:
        asked.append(1)
        with other.connect() as connection:
            return {"app.flag": connection.scalar(text("SELECT 7"))}

    listen(**{which: hook})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
        assert connection.scalar(text("SELECT 2")) == 2
    assert len(asked) == 2
    attributes = [each.attributes for each in told.of(QueryExecuted)]
    assert attributes.count({"app.flag": 7}) == 2
    assert len(attributes) == 4, "the hook's own statements are told"
    engine.dispose()
    other.dispose()


def sent_by(engine: Engine) -> list[str]:
    """What reaches the driver: read below our seam, at the cursor."""
    sent: list[str] = []
    dialect: Any = engine.dialect
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        original = getattr(dialect, name)

        def look(cursor: Any, sql: str, *more: Any, _original: Any = original) -> None:
            sent.append(sql)
            _original(cursor, sql, *more)

        setattr(dialect, name, look)
    return sent


def test_every_statement_carries_the_id_of_its_own_span(
    case: Case, told: Told, told_spans: "Spans"
) -> None:
    engine = case.engine()
    case.run(metadata.create_all, engine)
    sent = sent_by(engine)
    pipeline = Pipeline(
        tracer_provider=told_spans.provider,
        config=Config(sqlcommenter=True, synchronous=True),
        propagator=TraceContextTextMapPropagator(),
    )
    pipeline.attach(engine)

    def scene() -> None:
        with told_spans.tracer.start_as_current_span("page"), engine.begin() as connection:
            connection.execute(insert(users), [{"name": "100%"}, {"name": "%s"}])
            connection.execute(insert(users).values(name="50%"))
            like = select(users.c.name).where(users.c.name.like(bindparam("like")))
            assert connection.scalars(like, {"like": "%0%"}).all() == ["100%", "50%"]
            connection.execute(text("SELECT '%' AS percent, :one AS one"), {"one": "1"}).all()
            plain = connection.execution_options(no_parameters=True)
            assert plain.exec_driver_sql("SELECT 'a%' AS percent").scalar() == "a%"

    case.run(scene)
    pipeline.close()
    commented = [sql for sql in sent if "traceparent" in sql]
    assert len(commented) == len(sent) == 5
    queries = [span for span in told_spans.finished() if span.name[:6] in ("SELECT", "INSERT")]
    queries += [span for span in told_spans.finished() if span.name.startswith("BATCH")]
    expected = {
        f"traceparent='00-{span.context.trace_id:032x}-{span.context.span_id:016x}"
        f"-{span.context.trace_flags:02x}'"
        for span in queries
    }
    assert {sql[sql.index("traceparent") : -2] for sql in commented} == expected
    assert not any("traceparent" in str(span.attributes) for span in queries)


def test_the_configured_propagator_writes_the_comment(told: Told, listen: Listen) -> None:
    class Own(TextMapPropagator):
        @property
        def fields(self) -> set[str]:
            return {"x-own"}

        def extract(self, *_arguments: Any, **_options: Any) -> Context:
            return Context()

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            span = trace.get_current_span(context).get_span_context()
            carrier["x-own"] = f"{span.span_id:x}/*'"

    engine = create_engine("sqlite://")
    sent = sent_by(engine)
    listen(propagator=Own(), own_ids=lambda: True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    query = told.one(QueryExecuted)
    assert sent == [f"SELECT 1 /*x-own='{query.id[8:].hex().lstrip('0')}%2F%2A%27'*/"]
    assert query.propagated
    engine.dispose()


def test_hooks_alone_make_no_id_known(told: Told, listen: Listen) -> None:
    engine = create_engine("sqlite://")
    listen(response_hook=lambda *_: {"app.a": 1})
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert told.one(QueryExecuted).attributes == {"app.a": 1}
    assert not told.one(QueryExecuted).propagated
    engine.dispose()


def test_where_spans_have_ids_of_their_own_the_comment_names_the_span_above(
    told: Told, listen: Listen, told_spans: "Spans"
) -> None:
    engine = create_engine("sqlite://")
    sent = sent_by(engine)
    listen(propagator=TraceContextTextMapPropagator(), own_ids=lambda: False)
    with told_spans.tracer.start_as_current_span("page") as page, engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert f"{page.get_span_context().span_id:016x}" in sent[0]
    told.forget()
    sent.clear()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert sent == ["SELECT 1"]
    engine.dispose()


class Spans:
    """A provider, its tracer, and what was finished."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def finished(self) -> tuple[Any, ...]:
        return self.exporter.get_finished_spans()


@pytest.fixture
def told_spans() -> Spans:
    """Spans in memory."""
    return Spans()


INSTRUMENTORS = {
    "pysqlite": ("sqlite3", "SQLite3Instrumentor"),
    "psycopg": ("psycopg", "PsycopgInstrumentor"),
    "psycopg_async": ("psycopg", "PsycopgInstrumentor"),
    "asyncpg": ("asyncpg", "AsyncPGInstrumentor"),
    "pymysql": ("pymysql", "PyMySQLInstrumentor"),
}
DEAF = {"psycopg_async", "asyncpg"}
"""Their instrumentors tell also where instrumentations are asked to be silent."""


@pytest.mark.oldest
@pytest.mark.parametrize("case", INSTRUMENTORS, indirect=True)
def test_with_a_drivers_own_instrumentor_there_is_one_span_or_a_child(
    case: Case, told: Told, told_spans: Spans
) -> None:
    from importlib import import_module

    module, name = INSTRUMENTORS[case.driver]
    instrumentor = getattr(import_module(f"opentelemetry.instrumentation.{module}"), name)()
    instrumentor.instrument(tracer_provider=told_spans.provider)
    pipeline = Pipeline(tracer_provider=told_spans.provider, config=Config(synchronous=True))
    try:
        engine = case.engine()
        pipeline.attach(engine)
        case.run(metadata.create_all, engine)
        told_spans.exporter.clear()

        def scene() -> None:
            with told_spans.tracer.start_as_current_span("page"), engine.begin() as connection:
                add_users(connection, "ada", "bob")
                connection.execute(select(users)).all()

        case.run(scene)
    finally:
        pipeline.close()
        instrumentor.uninstrument()
    finished = {span.context.span_id: span for span in told_spans.finished()}
    ours = [s for s in finished.values() if s.instrumentation_scope.name == "otel_dbevents"]
    theirs = [
        s for s in finished.values() if s.instrumentation_scope.name.startswith("opentelemetry.")
    ]
    assert [span.name for span in ours if "users" in span.name] == [
        "BATCH INSERT users",
        "SELECT users",
    ]
    assert len({s.context.trace_id for s in finished.values()}) == 1
    assert not theirs or case.driver in DEAF
    for span in theirs:
        assert finished[span.parent.span_id] in ours


@pytest.mark.oldest
def test_an_instrumentor_that_is_not_at_work_changes_nothing(told: Told) -> None:
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

    from otel_dbevents.sources.around import instrumentor_of, is_at_work

    assert not is_at_work(instrumentor_of("pysqlite"))
    SQLite3Instrumentor().instrument()
    assert is_at_work(instrumentor_of("pysqlite"))
    SQLite3Instrumentor().uninstrument()
    assert not is_at_work(instrumentor_of("pysqlite"))
    assert not is_at_work(instrumentor_of("nosuch"))


def test_a_listener_of_the_applications_may_add_a_comment_of_its_own(
    told: Told, listen: Listen
) -> None:
    engine = create_engine("sqlite://")
    sent = sent_by(engine)
    listen(propagator=TraceContextTextMapPropagator(), own_ids=lambda: True)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def add(_c: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return f"{sql} /*route='%2Fpay'*/", parameters

    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert sent == ["SELECT 1 /*route='%2Fpay'*/"]
    engine.dispose()
