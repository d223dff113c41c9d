"""Spans of this process: what an in-memory exporter, or a processor of the caller's, has kept."""

from collections.abc import Iterable, Iterator

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from otel_dbevents.report.keys import kept
from otel_dbevents.report.model import Span


def spans_of_finished(spans: Iterable[ReadableSpan]) -> Iterator[Span]:
    """Return these spans as a report reads them. Those that have not ended are left out."""
    for span in spans:
        context = span.get_span_context()
        if context is None or span.start_time is None or span.end_time is None:
            continue
        scope = span.instrumentation_scope
        yield Span(
            format_trace_id(context.trace_id),
            format_span_id(context.span_id),
            format_span_id(span.parent.span_id) if span.parent else "",
            span.name,
            scope.name if scope else "",
            span.start_time,
            span.end_time,
            span.status.status_code is StatusCode.ERROR,
            kept(span.attributes or {}),
        )
