"""Spans over HTTP: the SDK's exporter with our encoding. Entry point ``otlp_dbevents_http``."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_dbevents.exporters.direct import exporting


class HttpSpanExporter(OTLPSpanExporter):
    """Sends spans by OTLP over HTTP. Arguments and variables are those of the SDK's exporter."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.encode_directly()

    def encode_directly(self) -> bool:
        """Exchange the encoding; False when the SDK's stays in use."""
        exchanged = exporting(super().export)
        self._sends = exchanged or super().export
        return exchanged is not None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; retries and their end are the SDK's."""
        result: SpanExportResult = self._sends(spans)
        return result
