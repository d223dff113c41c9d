"""A process that goes on and on, and what it holds after a while and after much longer.

    python -m tests.harm.endless WHAT FEW MANY

WHAT: `engines`, `statements` or `attaching`. Printed is what grew between FEW and MANY rounds, as
JSON: `blocks` of memory, `objects`, `threads`, and engines under watch.
"""

import contextlib
import gc
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from otel_dbevents.config import Config
from otel_dbevents.pipeline import Pipeline
from otel_dbevents.sources.guarding import guard

DATABASES, OPEN_RESULTS = 2, 20


class Nowhere(SpanExporter):
    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


reader = InMemoryMetricReader()
tracers, meters, exporter = TracerProvider(), MeterProvider([reader]), Nowhere()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
tracer = tracers.get_tracer("the application")
pipeline = Pipeline(tracer_provider=tracers, meter_provider=meters, config=Config())


def engines(number: int) -> None:
    """Make an engine, use it, drop it. What it says is not the same twice."""
    engine = create_engine("sqlite://", poolclass=NullPool if number % 2 else None)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    if number % 50 == 0:
        pipeline.flush(30)


def statements() -> Callable[[int], None]:
    """Return what runs statements, each somehow unlike the one before."""
    made = [create_engine("sqlite://") for _ in range(DATABASES)]
    connections = [engine.connect() for engine in made]
    never_closed: list[Any] = []

    def one(number: int) -> None:
        connection = connections[number % DATABASES]
        with tracer.start_as_current_span("a request"):
            connection.execute(text("SELECT 1 AS always")).all()
            connection.execute(text("SELECT 1 AS read")).fetchone()  # and not closed
            connection.exec_driver_sql(f"SELECT {number} AS inlined").all()
            connection.execute(text(f"SELECT 1 AS endless{number}")).all()
            if number % 10 == 0:
                never_closed.append(connection.execute(text("SELECT 1 UNION SELECT 2")))
                with contextlib.suppress(DBAPIError):
                    connection.execute(text(f"SELECT missing{number}"))
            connection.rollback()
        if len(never_closed) > OPEN_RESULTS:
            never_closed.clear()
        if number % 1_000 == 0:
            pipeline.flush(30)

    return one


def attaching() -> Callable[[int], None]:
    """Return what lets go of an engine and takes it again, while threads use it without a pause."""
    engine = create_engine("sqlite://")

    def use() -> None:
        while True:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1")).all()

    for _ in range(2):
        threading.Thread(target=use, daemon=True).start()

    def one(number: int) -> None:
        pipeline.detach(engine)
        pipeline.attach(engine)
        if number % 100 == 0:
            pipeline.flush(30)

    return one


def held() -> dict[str, int]:
    """Return what there is, once everything is told and nothing is left to collect."""
    pipeline.flush(60)
    reader.get_metrics_data()
    for _ in range(3):
        gc.collect()
    return {
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "threads": threading.active_count(),
        "watches": len(pipeline.source._watches.references),
    }


def main(what: str, few: str, many: str) -> None:
    one = engines if what == "engines" else globals()[what]()
    pipeline.attach()
    for number in range(int(few)):
        one(number)
    before = held()
    for number in range(int(few), int(many)):
        one(number)
    after = held()
    assert guard.errors == 0, guard.last
    assert exporter.spans >= int(few)
    print(
        json.dumps(
            {name: after[name] - before[name] for name in before} | {"lost": pipeline.lost()}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
