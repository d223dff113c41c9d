"""A collector that dies while PostgreSQL works: nothing that it had accepted is lost.

PostgreSQL keeps the book here: its own log of statements.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from sqlalchemy import Engine, create_engine, text

from otel_dbevents import Pipeline
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingSpanProcessor
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.postgresql import Postgresql
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e

SERVICE = "killed-in-mid-run"
ROUNDS = 4


class Accepted(SpanExporter):
    """The real exporter, with a list of what the collector said it had taken."""

    def __init__(self, endpoint: str) -> None:
        self.exporter = OTLPSpanExporter(endpoint, insecure=True)
        self.accepted: set[str] = set()
        self.all: dict[str, str] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        ids = {f"{span.context.span_id:016x}": span.name for span in spans if span.context}
        self.all |= ids
        result = self.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.accepted |= ids.keys()
        return result

    def shutdown(self) -> None:
        self.exporter.shutdown()


@pytest.fixture
def engine(postgresql: Postgresql) -> Iterator[Engine]:
    """An engine whose server writes down each statement."""
    database = postgresql.database()
    made = create_engine(postgresql.url(database))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE chores (id serial primary key, what text)"))
        connection.execute(text(f"ALTER DATABASE {database} SET log_statement = 'all'"))
    made.dispose()
    yield made
    made.dispose()


def statements(postgresql: Postgresql) -> Counter[str]:
    """Count what PostgreSQL says that it ran on our table, and the ends of transactions."""
    log = postgresql.process.log.read_text()
    lines = re.findall(r"LOG:  (?:statement|execute [^:]+): (.*)", log)
    return Counter(
        line.split()[0] for line in lines if "chores" in line or line in ("COMMIT", "ROLLBACK")
    )


def work(engine: Engine, pipeline: Pipeline, stop: threading.Event) -> None:
    tracer = pipeline.tracer_provider.get_tracer("worker")
    while not stop.wait(0.002):
        with tracer.start_as_current_span("chore"), engine.begin() as connection:
            connection.execute(text("INSERT INTO chores (what) VALUES (:what)"), {"what": "sweep"})
            connection.execute(text("SELECT what FROM chores ORDER BY id DESC LIMIT 3")).all()


def test_nothing_that_was_accepted_is_lost(
    engine: Engine, postgresql: Postgresql, jaeger: Jaeger, tmp_path: Path
) -> None:
    with run_collector(tmp_path, jaeger=jaeger.otlp_grpc) as collector:
        exporter = Accepted(collector.otlp_grpc)
        provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
        processor = CountingSpanProcessor(exporter, Limits(100_000, 512, 0.05))
        provider.add_span_processor(processor)
        pipeline = Pipeline(tracer_provider=provider, meter_provider=MeterProvider())
        pipeline.attach(engine)
        stop = threading.Event()
        worker = threading.Thread(target=work, args=(engine, pipeline, stop))
        worker.start()
        for _ in range(ROUNDS):
            before = len(exporter.accepted)
            wait_until(lambda before=before: len(exporter.accepted) > before + 50)
            collector.process.kill()
            collector.process.start()
        stop.set()
        worker.join()
        assert provider.force_flush()
        assert pipeline.close(60)
        provider.shutdown()

        def seen() -> set[str]:
            traces = jaeger.traces(SERVICE, limit=100_000)
            return {span["span_id"] for spans in traces.values() for span in spans}

        wait_until(lambda: exporter.accepted <= seen())

    assert len(exporter.accepted) + sum(processor.lost.values()) == len(exporter.all)
    names = Counter(name.split()[0] for name in exporter.all.values())
    book = statements(postgresql)
    assert names["INSERT"] == book["INSERT"] > 100
    assert names["SELECT"] == book["SELECT"]
    assert names["COMMIT"] == book["COMMIT"]
