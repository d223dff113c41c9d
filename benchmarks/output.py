"""What came out of a variant, in one form: from the SDK's objects in memory, or from OTLP."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

DURATION = "db.client.operation.duration"
FOLDED = "dbevents.folded.count"


@dataclass(frozen=True)
class Span:
    """What is looked at of a span, wherever it came from."""

    name: str
    attributes: Mapping[str, Any]
    child: bool
    client: bool
    error: bool
    took_ns: int


@dataclass
class Output:
    """Spans by the first word of their names, and statements that the histogram counts, by word.

    ``common`` are the attributes that all spans of a word have. ``queries`` counts what the spans
    stand for: a folded one for many.
    """

    spans: dict[str, int] = field(default_factory=dict)
    queries: dict[str, int] = field(default_factory=dict)
    common: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    misshapen: dict[str, int] = field(default_factory=dict)
    """Spans that are no client's, have none above, or end before they start."""
    durations: dict[str, int] = field(default_factory=dict)
    """Since the process began."""
    total: int | None = None
    """How many spans, where they were only counted."""

    def add(self, spans: Iterable[Span]) -> None:
        """Take note of spans."""
        for span in spans:
            word = _word(span.name)
            keys = set(span.attributes)
            known = self.common.get(word)
            self.common[word] = sorted(keys if known is None else keys & set(known))
            _count(self.spans, word)
            _count(self.queries, word, int(span.attributes.get(FOLDED, 1)))
            _count(self.errors, word, int(span.error))
            well = span.child and span.client and span.took_ns >= 0
            _count(self.misshapen, word, int(not well))


def _word(summary: str) -> str:
    words = summary.split()
    return words[1] if words[0] == "BATCH" else words[0]


def _count(counts: dict[str, int], word: str, number: int = 1) -> None:
    counts[word] = counts.get(word, 0) + number


def from_sdk(spans: Iterable[ReadableSpan]) -> Iterator[Span]:
    """Read the SDK's finished spans."""
    for span in spans:
        yield Span(
            span.name,
            span.attributes or {},
            span.parent is not None,
            span.kind is SpanKind.CLIENT,
            span.status.status_code is StatusCode.ERROR,
            (span.end_time or 0) - (span.start_time or 0),
        )


def from_otlp(request: Any) -> Iterator[Span]:
    """Read an ``ExportTraceServiceRequest``."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    {each.key: _value(each.value) for each in span.attributes},
                    bool(span.parent_span_id),
                    span.kind == span.SPAN_KIND_CLIENT,
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    span.end_time_unix_nano - span.start_time_unix_nano,
                )


def durations_of_sdk(data: MetricsData | None) -> dict[str, int]:
    """Return how many statements the duration histogram has counted, by word."""
    counts: Counter[str] = Counter()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points if metric.name == DURATION else ():
                    counts[_summary(point.attributes or {})] += getattr(point, "count", 0)
    return dict(counts)


def durations_of_otlp(request: Any) -> dict[str, int]:
    """Return the same of an ``ExportMetricsServiceRequest``."""
    counts: Counter[str] = Counter()
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.histogram.data_points if metric.name == DURATION else ():
                    attributes = {each.key: _value(each.value) for each in point.attributes}
                    counts[_summary(attributes)] += point.count
    return dict(counts)


def _summary(attributes: Mapping[str, Any]) -> str:
    # The operation's own name is only told where nobody had to read SQL for it.
    return _word(str(attributes.get("db.query.summary") or "none"))


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
