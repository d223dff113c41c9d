"""Spans out of OTLP: JSON as the collector's file exporter and Jaeger's API write it, protobuf."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from msgspec import Struct, field
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_dbevents.report.keys import kept
from otel_dbevents.report.model import Span

_ERROR: Final = 2
_SIGNALS: Final = (b'"resourceMetrics"', b'"resourceLogs"')


class _Value(Struct, rename="camel", gc=False):
    """An attribute's value: those that a report reads. Lists and maps are not among them."""

    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None

    def plain(self) -> Any:
        if self.string_value is not None:
            return self.string_value
        if self.int_value is not None:
            return int(self.int_value)
        return self.bool_value if self.double_value is None else self.double_value


class _Attribute(Struct, gc=False):
    key: str = ""
    value: _Value = field(default_factory=_Value)


class _Status(Struct):
    code: int | str = 0


class _Span(Struct, rename="camel"):
    """Events, links and all that is not named here are skipped without being decoded."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []
    status: _Status = field(default_factory=_Status)


class _Scope(Struct):
    name: str = ""


class _ScopeSpans(Struct):
    scope: _Scope = field(default_factory=_Scope)
    spans: list[_Span] = []


class _ResourceSpans(Struct, rename="camel"):
    scope_spans: list[_ScopeSpans] = []


class _Request(Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] = []
    result: "_Request | None" = None
    """Jaeger's API wraps what it answers."""


_decoder: Final = msgspec.json.Decoder(_Request)


def spans_of_json(document: bytes) -> Iterator[Span]:
    """Return the spans of one request. Raises `ValueError`, also for what is no OTLP traces."""
    try:
        request = _decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not OTLP JSON ({error})") from error
    resources = (request.result or request).resource_spans
    if not resources and b'"resourceSpans"' not in document:
        if any(signal in document for signal in _SIGNALS):
            return  # the same file may take metrics and logs
        raise ValueError("JSON, but not OTLP: it has no resourceSpans")
    for resource in resources:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _from_json(span, scope.scope.name)


def _from_json(span: _Span, scope: str) -> Span:
    try:
        start, end = int(span.start_time_unix_nano), int(span.end_time_unix_nano)
        attributes = {each.key: each.value.plain() for each in span.attributes}
    except ValueError as error:
        raise ValueError("not OTLP JSON (a number is none)") from error
    return Span(
        span.trace_id.lower(),
        span.span_id.lower(),
        span.parent_span_id.lower(),
        span.name,
        scope,
        start,
        end,
        span.status.code in (_ERROR, "STATUS_CODE_ERROR"),
        kept(attributes),
    )


def spans_of_protobuf(data: bytes) -> Iterator[Span]:
    """Return the spans of one request. Raises `ValueError` for what is none."""
    try:
        request = ExportTraceServiceRequest.FromString(data)
    except DecodeError as error:
        raise ValueError("not OTLP protobuf") from error
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    scope.scope.name,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == _ERROR,
                    kept(_plain(span.attributes)),
                )


def _plain(attributes: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = getattr(each.value, kind) if kind else None
    return found
