"""What is sent to a collector to see whether it takes it: nothing, or one thing of each signal."""

from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

NAME: Final = "otel-dbevents check"
"""What the probe's span, counter and log record are called."""


class _Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.batch: list[Any] = []

    def export(self, batch: Any) -> None:
        self.batch.extend(batch)

    def shutdown(self) -> None:
        pass


def nothing(signal: str) -> Any:
    """Return an empty batch: whoever takes it takes the protocol, the TLS and the credentials."""
    return MetricsData([]) if signal == "metrics" else []


def probe(signal: str) -> Any:
    """Return a batch with one span, measurement or log record of this service's resource."""
    makers = {"traces": _span, "metrics": _measurement, "logs": _log_record}
    return makers[signal](Resource.create())


def _span(resource: Resource) -> Any:
    kept: Any = _Kept()
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.get_tracer("otel_dbevents").start_span(NAME).end()
    return kept.batch


def _measurement(resource: Resource) -> Any:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    provider.get_meter("otel_dbevents").create_counter("dbevents.checks").add(1)
    return reader.get_metrics_data()


def _log_record(resource: Resource) -> Any:
    kept: Any = _Kept()
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    provider.get_logger("otel_dbevents").emit(LogRecord(body=NAME, event_name="dbevents.check"))
    return kept.batch
