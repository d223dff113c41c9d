"""An application that knows OpenTelemetry's own SDK and nothing of ours."""

from collections.abc import Sequence
from typing import Literal

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.services.collector import Collector

Protocol = Literal["grpc", "http"]


class Sender:
    """Makes telemetry with the SDK, and sends it only when told, so that acceptance can be told.

    `send_spans` and `send_logs` return whether the collector has accepted: it answered "success".
    """

    def __init__(
        self,
        collector: Collector,
        service: str,
        protocol: Protocol = "grpc",
        timeout: float = 10,
    ) -> None:
        self.service = service
        resource = Resource.create(
            {
                "service.name": service,
                "service.instance.id": f"{service}-1",
                "deployment.environment.name": "staging",
            }
        )
        self._span_exporter, self._log_exporter, metric_exporter = _exporters(
            collector, protocol, timeout
        )

        self._spans = InMemorySpanExporter()
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = tracers.get_tracer("tests.e2e", "1")
        self.tracer_of = tracers.get_tracer

        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._loggers.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

        reader = PeriodicExportingMetricReader(metric_exporter, export_interval_millis=3_600_000)
        self._meters = MeterProvider(
            [reader],
            resource=resource,
            exemplar_filter=AlwaysOnExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.meter = self._meters.get_meter("tests.e2e", "1")

    def make_spans(self, count: int, weight: int = 0) -> Sequence[ReadableSpan]:
        """Return so many finished spans, each a trace of its own and `weight` bytes heavier."""
        for number in range(count):
            attributes = {"ballast": "x" * weight} if weight else None
            self.tracer.start_span(f"work {number}", attributes=attributes).end()
        return self.finished_spans()

    def finished_spans(self) -> Sequence[ReadableSpan]:
        """Return what has ended since the last call."""
        spans = self._spans.get_finished_spans()
        self._spans.clear()
        return spans

    def send_spans(self, spans: Sequence[ReadableSpan] | None = None) -> bool:
        """Send these spans, or those that ended since the last call, in one request."""
        batch = self.finished_spans() if spans is None else spans
        return self._span_exporter.export(batch) is SpanExportResult.SUCCESS

    def log(self, body: str, event_name: str = "", **attributes: str) -> None:
        """Make a log record of the current context."""
        record = LogRecord(
            body=body,
            event_name=event_name or None,
            severity_number=SeverityNumber.INFO,
            attributes=attributes,
        )
        self._loggers.get_logger("tests.e2e", "1").emit(record)

    def send_logs(self) -> bool:
        """Send the records made since the last call, in one request."""
        records = self._logs.get_finished_logs()
        self._logs.clear()
        return self._log_exporter.export(records) is LogRecordExportResult.SUCCESS

    def send_metrics(self) -> bool:
        """Collect and send all metrics."""
        return self._meters.force_flush()

    def close(self) -> None:
        """End the exporters' threads and connections."""
        self._meters.shutdown()
        self._span_exporter.shutdown()
        self._log_exporter.shutdown()  # type: ignore[no-untyped-call]


def _exporters(
    collector: Collector, protocol: Protocol, timeout: float
) -> tuple[SpanExporter, LogRecordExporter, MetricExporter]:
    if protocol == "grpc":
        at = collector.otlp_grpc
        return (
            grpc_traces.OTLPSpanExporter(at, insecure=True, timeout=timeout),
            grpc_logs.OTLPLogExporter(at, insecure=True, timeout=timeout),
            grpc_metrics.OTLPMetricExporter(at, insecure=True, timeout=timeout),
        )
    at = collector.otlp_http
    return (
        http_traces.OTLPSpanExporter(f"{at}/v1/traces", timeout=timeout),
        http_logs.OTLPLogExporter(f"{at}/v1/logs", timeout=timeout),
        http_metrics.OTLPMetricExporter(f"{at}/v1/metrics", timeout=timeout),
    )
