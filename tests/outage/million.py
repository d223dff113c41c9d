"""Publishes events through a real pipeline while the collector fails, and tells how it went.

``python -m tests.outage.million NUMBER`` prints one JSON object. Every hundredth event is a failed
query, which makes a log record beside its span.
"""

import json
import logging
import resource
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_dbevents import Config, Pipeline
from otel_dbevents.events import Database, DatabaseType, Environment, Failure, Statement
from otel_dbevents.events import QueryExecuted as Executed
from otel_dbevents.events import QueryFailed as Failed
from otel_dbevents.exporters import ensure_providers

DB = Database(Environment.PRODUCTION, DatabaseType.POSTGRESQL, "shop", "db.example.com", 5432, "o")
SELECT = Statement("SELECT * FROM customers WHERE id = ?", "SELECT customers")
DENIED = Failure("42501", "psycopg.errors.InsufficientPrivilege", "permission denied", "42501")
ROUNDS = 5
"""The memory after the first is compared with that after the last."""
END_NS = 1_700_000_000_123_456_789


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def publish(pipeline: Pipeline, number: int) -> None:
    send = pipeline.bus.publish
    for n in range(number):
        if n % 100:
            send(Executed(database=DB, parent=None, end_time_ns=END_NS, duration_ns=n,
                          statement=SELECT))  # fmt: skip
        else:
            send(Failed(database=DB, parent=None, end_time_ns=END_NS, duration_ns=n,
                        statement=SELECT, failure=DENIED))  # fmt: skip


def memory() -> int:
    """Return the bytes that the process holds now; where the system does not say, its most ever."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def counts(reader: InMemoryMetricReader) -> dict[str, Any]:
    data: Any = reader.get_metrics_data()
    points = {
        metric.name: metric.data.data_points
        for each in data.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    }
    told = points["db.client.operation.duration"]
    return {
        "told": sum(point.count for point in told),
        "told_failed": sum(point.count for point in told if "error.type" in point.attributes),
        "lost": {
            point.attributes["dbevents.lost.reason"]: point.value
            for point in points.get("dbevents.events.lost", ())
        },
    }


def run(number: int) -> dict[str, Any]:
    began, lines = monotonic(), Lines()
    logging.getLogger().addHandler(lines)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    providers = ensure_providers()
    pipeline = Pipeline(config=Config(environment="production", buffer_size=2_000))
    held = []
    for _ in range(ROUNDS):
        publish(pipeline, number // ROUNDS)
        assert pipeline.flush(200)
        held.append(memory())
    providers.shutdown(1)
    told = {"seconds": monotonic() - began, "lines": lines.said}
    return {"published": number, "memory": held, **told, **counts(reader)}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
