"""From an engine to telemetry in one process: what is flushed is there, what is closed is gone."""

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libsql_client
import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, create_engine, event, exc, text

import otel_dbevents
from otel_dbevents import Config, Environment, Pipeline, bursts
from otel_dbevents.bus import subscription
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.ending import Ending
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
)
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingSpanProcessor
from otel_dbevents.judges import Judges
from otel_dbevents.pipeline import wiring
from otel_dbevents.sources.guarding import guard
from tests.services.process import wait_until


class Telemetry:
    """The SDK's own providers with exporters in memory."""

    def __init__(self, *, batch: bool = False, **resource: str) -> None:
        made = Resource.create({name.replace("_", "."): value for name, value in resource.items()})
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(resource=made, shutdown_on_exit=False)
        kind = BatchSpanProcessor if batch else SimpleSpanProcessor
        self.tracers.add_span_processor(kind(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], resource=made, shutdown_on_exit=False)
        self.records: list[LogRecord] = []
        self.loggers = LoggerProvider(resource=made, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(Records(self.records)))

    @property
    def providers(self) -> dict[str, Any]:
        return {
            "tracer_provider": self.tracers,
            "meter_provider": self.meters,
            "logger_provider": self.loggers,
        }

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric.data
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def shutdown(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()


class Records:
    """A log exporter in memory, the same for every version of the SDK."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records

    def export(self, batch: Any) -> None:
        self._records.extend(each.log_record for each in batch)

    def shutdown(self) -> None:
        """Nothing to do."""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.shutdown()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path}/shop.db")
    yield made
    made.dispose()


@pytest.fixture
def pipeline(telemetry: Telemetry, engine: Engine) -> Iterator[Pipeline]:
    made = Pipeline(**telemetry.providers)
    made.attach(engine)
    yield made
    made.close()


@pytest.fixture
def instrumented() -> Iterator[None]:
    yield
    otel_dbevents.uninstrument()


def query(engine: Engine, sql: str = "SELECT 1 AS one") -> None:
    with engine.connect() as connection:
        connection.execute(text(sql)).all()


def test_metrics_that_are_read_while_a_pipeline_is_made_say_nothing_and_harm_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever exports often reads them as soon as there are any."""
    telemetry = Telemetry()

    def judges(*arguments: Any, **more: Any) -> Judges:
        telemetry.reader.get_metrics_data()
        return Judges(*arguments, **more)

    monkeypatch.setattr(wiring, "Judges", judges)

    class Read(MemoryBus):
        def subscribe(self, *arguments: Any, **more: Any) -> Any:
            telemetry.reader.get_metrics_data()
            return super().subscribe(*arguments, **more)

    pipeline = Pipeline(**telemetry.providers, bus=Read())
    try:
        telemetry.reader.get_metrics_data()
        assert not [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    finally:
        pipeline.close()


def test_a_query_becomes_a_span_below_the_applications(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        query(engine)
    assert pipeline.flush()
    spans = {span.name: span for span in telemetry.spans()}
    select = spans["SELECT"]
    assert select.parent is not None
    assert select.parent.span_id == request.get_span_context().span_id
    assert request.start_time <= select.start_time < select.end_time <= request.end_time  # type: ignore[attr-defined]


def test_flushing_the_tracer_provider_flushes_us_first(engine: Engine) -> None:
    telemetry = Telemetry(batch=True)
    pipeline = Pipeline(**telemetry.providers)
    pipeline.attach(engine)
    query(engine)
    assert telemetry.tracers.force_flush()
    assert "SELECT" in telemetry.names()
    pipeline.close()
    telemetry.shutdown()


def test_shutting_the_tracer_provider_down_exports_what_was_under_way(engine: Engine) -> None:
    telemetry = Telemetry(batch=True)
    pipeline = Pipeline(**telemetry.providers)
    pipeline.attach(engine)
    query(engine)
    telemetry.tracers.shutdown()
    assert "SELECT" in telemetry.names()
    pipeline.close()
    telemetry.shutdown()


def test_closing_gives_the_providers_their_own_methods_back(
    telemetry: Telemetry, engine: Engine
) -> None:
    pipeline = Pipeline(**telemetry.providers)
    assert "force_flush" in telemetry.tracers.__dict__
    assert pipeline.close(60)
    assert pipeline.close(60)
    assert "force_flush" not in telemetry.tracers.__dict__
    assert "shutdown" not in telemetry.meters.__dict__
    query(engine)
    assert telemetry.names() == []


@pytest.mark.parametrize("step", ["source.detach", "bus.flush", "bus.close", "bridge.close"])
def test_a_closing_that_is_interrupted_goes_on_when_it_is_asked_again(
    telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    pipeline = Pipeline(**telemetry.providers)
    pipeline.attach(engine)
    query(engine)
    part, name = step.split(".")
    close, called = getattr(getattr(pipeline, part), name), []

    def interrupted(*arguments: Any) -> Any:
        called.append(step)
        if len(called) == 1:
            raise KeyboardInterrupt
        return close(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(getattr(pipeline, part), name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.close()
        assert pipeline.close(60)
    told = telemetry.names()
    assert "SELECT" in told
    assert "force_flush" not in telemetry.tracers.__dict__
    query(engine)
    assert telemetry.names() == told


def test_a_pipeline_that_is_dropped_is_collected(telemetry: Telemetry) -> None:
    pipeline = Pipeline(**telemetry.providers)
    pipeline.close()
    reference = weakref.ref(pipeline)
    del pipeline
    gc.collect()
    assert reference() is None


def test_the_end_of_the_process_drains_each_pipeline_that_is_open(tmp_path: Path) -> None:
    program = """
import otel_dbevents
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from sqlalchemy import create_engine, text

def pipeline(name):
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(formatter=lambda span: f"{name} {span.name}\\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return otel_dbevents.Pipeline(tracer_provider=provider)

engine = create_engine("sqlite://")
closed, still_open = pipeline("closed"), pipeline("open")
still_open.attach(engine)
closed.close()
with engine.connect() as connection:
    connection.execute(text("SELECT 1")).all()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "open SELECT" in ended.stdout.splitlines()


def test_synchronously_the_spans_are_there_at_once(telemetry: Telemetry, engine: Engine) -> None:
    pipeline = Pipeline(**telemetry.providers, config=Config(synchronous=True))
    pipeline.attach(engine)
    query(engine)
    assert "SELECT" in telemetry.names()
    pipeline.close()


def test_every_processor_sees_our_spans_as_any_other(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    class Marks(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute("marked", trace.get_current_span(parent_context).is_recording())

    telemetry.tracers.add_span_processor(Marks())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        query(engine)
        pipeline.flush()
    (select,) = [span for span in telemetry.spans() if span.name == "SELECT"]
    assert select.attributes is not None
    assert select.attributes["marked"] is True


def test_metrics_count_what_no_span_shows(engine: Engine, telemetry: Telemetry) -> None:
    config = Config(min_duration_ms=60_000, slow_query_ms=0)
    pipeline = Pipeline(**telemetry.providers, config=config)
    pipeline.attach(engine)
    query(engine)
    query(engine)
    pipeline.flush()
    assert telemetry.names() == []
    (point,) = telemetry.metrics()["db.client.operation.duration"].data_points
    assert point.count == 2
    pipeline.close()


def folded(telemetry: Telemetry) -> list[int]:
    """How many queries each SELECT's span stands for."""
    found = [dict(span.attributes or {}) for span in telemetry.spans() if span.name == "SELECT"]
    return [each.get("dbevents.folded.count", 1) for each in found]


def test_a_burst_folds_and_flushing_tells_it(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        for _ in range(30):
            query(engine)
        assert telemetry.tracers.force_flush()
        assert sum(folded(telemetry)) == 30
        assert folded(telemetry)[:11] == [1] * 10 + [folded(telemetry)[10]]
    (point,) = telemetry.metrics()["db.client.operation.duration"].data_points
    assert point.count == 30
    there = {request.get_span_context().span_id}
    there |= {span.context.span_id for span in telemetry.spans()}
    assert {exemplar.span_id for exemplar in point.exemplars} <= there


def test_a_burst_is_told_though_nobody_flushes_and_nothing_else_comes(
    telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "_IDLE_SECONDS", 0.01)
    pipeline = Pipeline(**telemetry.providers, config=Config(fold_after=2))
    pipeline.attach(engine)
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        for _ in range(12):
            query(engine)
        wait_until(lambda: sum(folded(telemetry)) == 12)
        assert max(folded(telemetry)) > 1
    pipeline.close()


@pytest.mark.parametrize(
    "turned", [{"synchronous": True}, {"fold_after": 0}, {"sqlcommenter": True}]
)
def test_what_is_told_at_once_or_known_to_the_database_by_its_id_does_not_fold(
    telemetry: Telemetry, engine: Engine, turned: dict[str, Any]
) -> None:
    pipeline = Pipeline(**telemetry.providers, config=Config(**turned))
    pipeline.attach(engine)
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        for _ in range(12):
            query(engine)
    assert pipeline.config.synchronous is False or folded(telemetry) == [1] * 12
    assert pipeline.flush()
    assert folded(telemetry) == [1] * 12
    (point,) = telemetry.metrics()["db.client.operation.duration"].data_points
    own = {span.context.span_id for span in telemetry.spans() if span.name == "SELECT"}
    assert {exemplar.span_id for exemplar in point.exemplars} <= own
    pipeline.close()


def test_a_burst_is_judged_though_nobody_flushes_and_nothing_else_comes(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        for _ in range(12):
            query(engine)
        wait_until(lambda: "database.query.repeated" in [r.event_name for r in telemetry.records])


def test_closing_tells_the_burst_that_is_open(telemetry: Telemetry, engine: Engine) -> None:
    pipeline = Pipeline(**telemetry.providers, config=Config(fold_after=1))
    pipeline.attach(engine)
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        for _ in range(12):
            query(engine)
        assert pipeline.close(60)
    assert sum(folded(telemetry)) == 12


def test_pools_are_read_when_metrics_are(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    with engine.connect():
        states = {
            point.attributes["db.client.connection.state"]: point.value
            for point in telemetry.metrics()["db.client.connection.count"].data_points
        }
    assert states == {"used": 1, "idle": 0}


def test_handlers_by_type_get_the_events(pipeline: Pipeline, engine: Engine) -> None:
    seen: list[QueryFailed] = []
    pipeline.bus.handle(seen.append, QueryFailed)
    query(engine)
    with pytest.raises(exc.OperationalError):
        query(engine, "SELECT nosuch")
    assert pipeline.flush()
    (failed,) = seen
    assert failed.failure.error_type == "SQLITE_ERROR"
    assert QueryExecuted in map(type, pipeline.bus.history)


def test_a_burst_is_judged_when_flushed(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bursts, "_QUIET_NS", 3600 * 10**9)  # and not as a second went by
    with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
        for _ in range(12):
            query(engine)
    pipeline.flush()
    (burst,) = [e for e in pipeline.bus.history if isinstance(e, RepeatedQueryDetected)]
    assert burst.count == 12
    (record,) = [r for r in telemetry.records if r.event_name == "database.query.repeated"]
    assert record.attributes is not None
    assert record.attributes["dbevents.query.count"] == 12
    assert record.attributes["code.file.path"] == "tests/test_pipeline.py"
    assert record.attributes["code.line.number"] == query.__code__.co_firstlineno + 2


def test_what_goes_wrong_is_an_event_on_the_applications_open_span(
    pipeline: Pipeline, telemetry: Telemetry, tmp_path: Path
) -> None:
    tight = create_engine(
        f"sqlite:///{tmp_path}/tight.db", pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    pipeline.attach(tight)
    with (
        telemetry.tracers.get_tracer("app").start_as_current_span("request") as request,
        tight.connect(),
        pytest.raises(exc.TimeoutError),
    ):
        tight.connect()
    pipeline.flush()
    assert "database.checkout.timed_out" in [each.name for each in request.events]  # type: ignore[attr-defined]
    assert any(isinstance(each, CheckoutTimedOut) for each in pipeline.bus.history)
    tight.dispose()


@pytest.mark.parametrize(
    ("resource", "given", "found"),
    [
        ({}, None, Environment.LOCAL),
        ({"deployment_environment_name": "Production"}, None, Environment.PRODUCTION),
        ({"deployment_environment": "staging"}, None, Environment.STAGING),
        ({"deployment_environment_name": "staging"}, "development", Environment.DEVELOPMENT),
    ],
)
def test_the_environment_is_the_resources_unless_it_is_set(
    resource: dict[str, str], given: Any, found: Environment
) -> None:
    telemetry = Telemetry(**resource)
    pipeline = Pipeline(**telemetry.providers, config=Config(environment=given))
    assert pipeline.environment is found
    pipeline.close()
    telemetry.shutdown()


def test_a_shared_bus_is_not_closed_with_the_pipeline(telemetry: Telemetry, engine: Engine) -> None:
    bus = MemoryBus()
    pipeline = Pipeline(**telemetry.providers, bus=bus)
    pipeline.attach(engine)
    query(engine)
    pipeline.close()
    seen: list[Any] = []
    bus.handle(seen.append)
    bus.publish(bus.history[0])
    assert bus.flush()
    assert len(seen) == 1
    bus.close()


def test_instrument_and_uninstrument(
    telemetry: Telemetry, engine: Engine, instrumented: None
) -> None:
    pipeline = otel_dbevents.instrument(engine, **telemetry.providers)
    query(engine)
    assert otel_dbevents.flush()
    assert "SELECT" in telemetry.names()
    assert otel_dbevents.instrument(engine) is pipeline
    otel_dbevents.uninstrument(engine)
    telemetry.exporter.clear()
    query(engine)
    assert otel_dbevents.flush()
    assert telemetry.names() == []
    otel_dbevents.uninstrument()
    otel_dbevents.uninstrument()
    otel_dbevents.uninstrument(engine)
    assert otel_dbevents.flush()


def test_a_libsql_client_is_listened_to_like_an_engine(
    telemetry: Telemetry, tmp_path: Path, instrumented: None
) -> None:
    with libsql_client.create_client_sync(f"file:{tmp_path}/shop.db") as client:
        otel_dbevents.instrument(client, **telemetry.providers)
        client.execute("CREATE TABLE users (id INTEGER)")
        client.batch(["INSERT INTO users VALUES (1)"] * 2)
        otel_dbevents.uninstrument(client)
        client.execute("DELETE FROM users")
        otel_dbevents.flush()
        assert telemetry.names() == ["CREATE TABLE users", "BATCH INSERT users"]
        ended = {
            point.attributes["dbevents.transaction.outcome"]: point.value
            for point in telemetry.metrics()["dbevents.transactions"].data_points
        }
        assert ended == {"committed": 1, "commit_failed": 0}
        otel_dbevents.instrument(**telemetry.providers)
        client.execute("DELETE FROM users")
        otel_dbevents.uninstrument()
        client.execute("DROP TABLE users")
    assert telemetry.names()[2:] == ["DELETE users"]


def test_instrumenting_again_with_other_providers_is_told_and_ignored(
    telemetry: Telemetry, engine: Engine, instrumented: None, caplog: pytest.LogCaptureFixture
) -> None:
    first = otel_dbevents.instrument(engine, **telemetry.providers)
    other = TracerProvider(shutdown_on_exit=False)
    with caplog.at_level(logging.WARNING, "otel_dbevents"):
        assert otel_dbevents.instrument(engine, tracer_provider=other) is first
    assert "another tracer_provider" in caplog.text
    assert "uninstrument()" in caplog.text


def hook(*_: Any) -> None:
    """Add nothing."""


def nothing(_: Any) -> bool:
    """Want nothing."""
    return False


@pytest.mark.parametrize(
    "name",
    ["config", "propagator", "request_hook", "response_hook", "span_filter", "engine_filter"],
)
def test_instrumenting_again_tells_of_each_argument_that_is_ignored(
    name: str,
    telemetry: Telemetry,
    engine: Engine,
    instrumented: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = {
        "config": Config(fold_after=3),
        "propagator": TraceContextTextMapPropagator(),
        "span_filter": nothing,
        "engine_filter": nothing,
    }
    given: dict[str, Any] = {name: other.get(name, hook)}
    otel_dbevents.instrument(engine, **telemetry.providers)
    with caplog.at_level(logging.WARNING, "otel_dbevents"):
        otel_dbevents.instrument(engine, **telemetry.providers)
        assert "ignored" not in caplog.text
        otel_dbevents.instrument(engine, **given)
    assert f"another {name}, which is ignored" in caplog.text
    otel_dbevents.uninstrument()
    caplog.clear()
    for _ in range(2):
        otel_dbevents.instrument(engine, **telemetry.providers, **given)
    assert "ignored" not in caplog.text


def test_the_filters_are_asked_by_name_or_not(
    telemetry: Telemetry, engine: Engine, instrumented: None
) -> None:
    otel_dbevents.instrument(engine, **telemetry.providers, span_filter=nothing)
    query(engine)
    assert otel_dbevents.flush()
    assert telemetry.names() == ["CONNECT shop.db"]
    (point,) = telemetry.metrics()["db.client.operation.duration"].data_points
    assert point.count == 1
    otel_dbevents.uninstrument()
    pipeline = otel_dbevents.instrument(**telemetry.providers, engine_filter=nothing)
    query(engine)
    assert otel_dbevents.flush()
    assert pipeline.bus.history == ()


@pytest.mark.parametrize("name", ["request_hook", "response_hook", "span_filter", "engine_filter"])
def test_a_hook_or_filter_that_cannot_be_called_is_refused(name: str, instrumented: None) -> None:
    async def later(*_: Any) -> bool:
        return True

    for wrong in ("SELECT", later):
        with pytest.raises(TypeError, match=f"{name} takes a plain function; got"):
            otel_dbevents.instrument(**{name: wrong})  # type: ignore[arg-type]


def test_an_engine_that_is_let_go_stays_so_while_all_others_are_observed(
    telemetry: Telemetry, engine: Engine, instrumented: None
) -> None:
    otel_dbevents.instrument(**telemetry.providers)
    otel_dbevents.uninstrument(engine)
    query(engine)
    assert otel_dbevents.flush()
    assert telemetry.names() == []


@pytest.mark.parametrize("how", ["OTEL_SDK_DISABLED", "config"])
def test_turned_off_nothing_is_listened_to(
    how: str,
    telemetry: Telemetry,
    engine: Engine,
    instrumented: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config(enabled=how != "config")
    if how != "config":
        monkeypatch.setenv(how, "true")
    otel_dbevents.instrument(engine, **telemetry.providers, config=config)
    query(engine)
    otel_dbevents.flush()
    assert telemetry.names() == []


def test_what_went_wrong_in_our_own_code_is_counted_as_lost(
    pipeline: Pipeline, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "errors", guard.errors + 2)
    assert pipeline.lost()["source_error"] == guard.errors
    (point,) = telemetry.metrics()["dbevents.events.lost"].data_points
    assert point.value == guard.errors
    monkeypatch.undo()


def test_a_failed_commit_is_told_everywhere_and_nowhere_as_a_commit(
    pipeline: Pipeline, telemetry: Telemetry, engine: Engine
) -> None:
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON").close())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        connection.execute(
            text("CREATE TABLE b (a REFERENCES a(id) DEFERRABLE INITIALLY DEFERRED)")
        )
    pipeline.flush()
    telemetry.exporter.clear()
    with (
        telemetry.tracers.get_tracer("app").start_as_current_span("request") as request,
        pytest.raises(exc.IntegrityError),
        engine.begin() as connection,
    ):
        connection.execute(text("INSERT INTO b VALUES (9)"))
    pipeline.flush()
    (commit,) = [span for span in telemetry.spans() if span.name.startswith("COMMIT")]
    assert commit.status.status_code is trace.StatusCode.ERROR
    assert any(isinstance(each, CommitFailed) for each in pipeline.bus.history)
    assert "database.commit.failed" in [each.name for each in request.events]  # type: ignore[attr-defined]
    assert "database.commit.failed" in [record.event_name for record in telemetry.records]
    counted = {
        point.attributes["dbevents.transaction.outcome"]: point.value
        for point in telemetry.metrics()["dbevents.transactions"].data_points
    }
    assert counted["commit_failed"] == 1
    assert "committed" not in counted  # SQLite opens no transaction for the tables
    assert "rolled_back" not in counted


def test_what_is_lost_is_told_by_reason_and_a_judges_loss_is_no_spans(
    telemetry: Telemetry, engine: Engine
) -> None:
    processor = CountingSpanProcessor(InMemorySpanExporter(), Limits(50, 50, 3600))
    telemetry.tracers.add_span_processor(processor)
    pipeline = Pipeline(**telemetry.providers, config=Config(buffer_size=5))
    pipeline.attach(engine)
    held, free = threading.Event(), threading.Event()

    def slow(_: QueryExecuted) -> None:
        held.set()
        free.wait(60)

    def query_told() -> None:
        query(engine)
        wait_until(lambda: not len(pipeline._telling.subscription.buffer))  # type: ignore[attr-defined]

    pipeline.bus.handle(slow, QueryExecuted)
    query_told()
    assert held.wait(60)
    for _ in range(9):
        query_told()
        pipeline.bridge.settle()
    assert pipeline.lost() == {"handler_queue_full": 4}
    processor.give_up()
    query(engine)
    free.set()
    assert pipeline.flush()
    lost = pipeline.lost()
    made = len(telemetry.spans())
    assert lost["span_shutdown"] == made
    points = telemetry.metrics()["dbevents.events.lost"].data_points
    assert {each.attributes["dbevents.lost.reason"]: each.value for each in points} == lost
    pipeline.close()
    telemetry.shutdown()


def hang_the_bridge(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have the bridge take a batch and not come back until it is released."""
    released = threading.Event()
    monkeypatch.setattr(pipeline.bridge, "consume", lambda _: released.wait(120))
    return released


def test_closing_takes_no_longer_than_it_may_however_much_hangs(
    telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(**telemetry.providers)
    released = hang_the_bridge(pipeline, monkeypatch)
    asked: list[float] = []
    for stage in ("flush", "close"):
        original = getattr(pipeline.bus, stage)
        monkeypatch.setattr(
            pipeline.bus, stage, lambda timeout, o=original: asked.append(timeout) or o(timeout)
        )
    settled: list[float] = []
    monkeypatch.setattr(pipeline.bridge, "settle", lambda timeout=-1.0: settled.append(timeout))
    pipeline.attach(engine)
    query(engine)
    assert not pipeline.close(0.5)
    assert asked[0] == 0.5
    assert max(*asked[1:], *settled) < 0.1, "the first used the time up, and nothing is left"
    released.set()


@pytest.mark.parametrize("how", ["positional", "keyword"])
def test_a_forced_flush_has_one_time_for_us_and_the_processors(
    telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    left: list[float] = []
    monkeypatch.setattr(
        telemetry.tracers, "force_flush", lambda timeout_millis=30_000: left.append(timeout_millis)
    )
    pipeline = Pipeline(**telemetry.providers)
    given: list[float] = []
    flush = pipeline.flush
    monkeypatch.setattr(
        pipeline, "flush", lambda timeout=2: given.append(timeout) or flush(timeout)
    )
    released = hang_the_bridge(pipeline, monkeypatch)
    pipeline.attach(engine)
    query(engine)
    if how == "positional":
        telemetry.tracers.force_flush(300)
    else:
        telemetry.tracers.force_flush(timeout_millis=300)
    assert (given, left) == ([0.3], [0])
    released.set()
    assert pipeline.flush()
    telemetry.tracers.force_flush(60_000)
    assert 0 < left[1] <= 60_000
    pipeline.close()


def test_at_the_end_of_the_process_a_shutdown_has_what_is_left_of_the_time(
    telemetry: Telemetry, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending()
    for module in ("wiring", "draining"):
        monkeypatch.setattr(f"otel_dbevents.pipeline.{module}.ending", ending)
    pipeline = Pipeline(**telemetry.providers, config=Config(flush_timeout_ms=300))
    given: list[float] = []
    original = pipeline.flush
    monkeypatch.setattr(
        pipeline, "flush", lambda timeout: given.append(timeout) or original(timeout)
    )
    released = hang_the_bridge(pipeline, monkeypatch)
    pipeline.attach(engine)
    query(engine)
    pipeline._at_exit()
    telemetry.tracers.shutdown()
    telemetry.loggers.shutdown()
    assert given[0] <= 0.3 + 1e-6  # a clock that has run for hours rounds
    assert given[1:] == [0, 0]
    released.set()
    monkeypatch.undo()
    pipeline.close()
