"""What processes told, in one file that all of them append to: a line for each span and number.

A line is written by one call, so that lines of several processes do not mix.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

DURATION = "db.client.operation.duration"
USED = "db.client.connection.count"
PENDING = "db.client.connection.pending_requests"


def tell(path: str, **said: Any) -> None:
    """Append a line."""
    line = json.dumps({"pid": os.getpid(), **said}).encode() + b"\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class SpansToFile(SpanExporter):
    """Tells of each span: who exported it, its ids, its statement."""

    def __init__(self, path: str) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            tell(
                self.path,
                span=span.context.span_id,
                trace=span.context.trace_id,
                parent=span.parent.span_id if span.parent else 0,
                name=span.name,
                query=(span.attributes or {}).get("db.query.text", ""),
            )
        return SpanExportResult.SUCCESS


class NumbersToFile(MetricExporter):
    """Tells of each collection: the calls of the driver so far, and the pool's numbers."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        found: Counter[str] = Counter()
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        if metric.name == DURATION:
                            found["calls"] += point.count
                        if metric.name == PENDING:
                            found["pending"] += point.value
                        if metric.name == USED:
                            state = point.attributes["db.client.connection.state"]
                            found[str(state)] += point.value
        tell(self.path, numbers=found)
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: Any, **__: Any) -> bool:
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


def numbers_reader(path: str) -> PeriodicExportingMetricReader:
    """Read when asked, and every minute."""
    return PeriodicExportingMetricReader(NumbersToFile(path), 60_000)


class Told:
    """The lines of all processes."""

    def __init__(self, path: Path) -> None:
        self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "span" in line]

    def queries(self, text: str) -> Counter[int]:
        """How many spans of a statement each process exported."""
        return Counter(line["pid"] for line in self.spans if line["query"] == text)

    def last_numbers(self) -> dict[int, dict[str, int]]:
        """The last collection of each process."""
        return {line["pid"]: line["numbers"] for line in self.lines if "numbers" in line}

    def said(self, key: str) -> dict[int, Any]:
        """What each process said of itself under a name."""
        return {line["pid"]: line[key] for line in self.lines if key in line}
