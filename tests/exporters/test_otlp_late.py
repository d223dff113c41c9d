"""A plain query's span, which has no parts yet, is encoded as the SDK encodes it with its parts."""

import threading
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge.late import Late, LateOpening
from otel_dbevents.events import QueryExecuted, Statement, new_id
from otel_dbevents.exporters.otlp import SpanEncoder
from tests.bridge.support import DB, MS, SELECT, established, executed

OTHER = Statement("INSERT INTO é VALUES (?)", "INSERT é", "INSERT", "é")


class Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def below(number: int, *, remote: bool = False, state: TraceState | None = None) -> Context:
    parent = SpanContext(2**127 + number, 2**63 + number, remote, TraceFlags(1), state)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def late(*told: tuple[QueryExecuted, Context], limits: SpanLimits | None = None) -> list[Any]:
    """Return the spans of queries, which nobody has looked at."""
    kept = Kept()
    resource = Resource({"service.name": "shop"}, "https://example.org/1")
    tracers = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
    tracers.add_span_processor(kept)
    Bridge(tracers, None, None).consume(list(told))
    return kept.spans


def query(**changed: Any) -> QueryExecuted:
    return executed(**{"id": new_id(), "returned_rows": 3, **changed})


ALL: list[tuple[QueryExecuted, Context]] = [
    (query(), below(1)),
    (query(returned_rows=-1), below(1)),
    (query(returned_rows=0), below(2, remote=True)),
    (query(statement=OTHER, returned_rows=70_000), below(2)),
    (query(batch_size=100), below(2)),
    (query(batch_size=7), below(2)),
    (query(reading_ns=20 * MS, first_row_ns=3 * MS), below(2)),
    (query(statement=Statement("x" * 10_000)), below(3, state=TraceState([("a", "1")]))),
    (query(duration_ns=0, statement=SELECT), below(1)),
    (query(), below(4)),
]


def test_it_says_what_the_sdk_says_of_it_and_stays_unlooked_at() -> None:
    spans, encoder = late(*ALL), SpanEncoder()
    for _ in range(3):
        ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    assert [type(span) for span in spans] == [Late] * len(ALL)
    assert ours == encode_spans(spans)
    assert [type(span) for span in spans] == [ReadableSpan] * len(ALL)
    assert not encoder.fallbacks


def test_among_others_it_is_in_its_place() -> None:
    spans, encoder = late(*ALL), SpanEncoder()
    for span in spans[::2]:
        assert span.name
    ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    assert ours == encode_spans(spans)


@pytest.mark.parametrize(
    "limits",
    [
        SpanLimits(max_attributes=3),
        SpanLimits(max_attribute_length=5),
        SpanLimits(max_attributes=7),
    ],
    ids=["few", "short", "just enough"],
)
def test_where_the_sdk_would_cut_it_is_cut(limits: SpanLimits) -> None:
    encoder = SpanEncoder()
    whole, cut, more = late(*ALL), late(*ALL, limits=limits), late(*ALL)
    for spans in (whole, cut, more, [*late(ALL[0]), *late(ALL[0], limits=limits)]):
        assert ExportTraceServiceRequest.FromString(encoder.encode(spans)) == encode_spans(spans)


def test_a_statement_of_another_database_is_not_taken_for_its_like() -> None:
    from msgspec.structs import replace

    databases = [DB, replace(DB, namespace="other"), replace(DB, server_address="")]
    told = [(query(database=each), below(1)) for each in (*databases, *databases)]
    spans = late(*told)
    ours = ExportTraceServiceRequest.FromString(SpanEncoder().encode(spans))
    assert ours == encode_spans(spans)


def test_what_is_kept_is_bounded() -> None:
    encoder = SpanEncoder()
    for number in range(300):
        statement = Statement(f"SELECT {number} " + "x" * 10_000)
        encoder.encode(late((query(statement=statement), below(number))))
    kept = encoder._late._said.values()
    assert 0 < len(kept) < 110
    assert sum(len(each[4]) for each in kept) <= 1 << 20


def test_looked_at_just_now_it_is_encoded_in_its_parts() -> None:
    (span,), encoder = late(ALL[0]), SpanEncoder()
    assert span.name
    span.__class__ = Late  # which it is until it has become the SDK's own
    ours = ExportTraceServiceRequest.FromString(encoder.encode([span]))
    assert ours == encode_spans([span])
    assert not encoder.fallbacks


def test_looked_at_by_another_thread_meanwhile_it_is_whole() -> None:
    encoder, told = SpanEncoder(), [(query(), below(number)) for number in range(300)]
    spans = late(*told)
    start = threading.Barrier(2)

    def look() -> None:
        start.wait()
        for span in reversed(spans):
            assert span.name

    looking = threading.Thread(target=look)
    looking.start()
    start.wait()
    ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    looking.join()
    assert ours == encode_spans(spans)
    assert not encoder.fallbacks


def test_a_new_connection_is_told_without_its_parts_too() -> None:
    class Unlooked(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            self.spans = list(spans)
            return super().export(spans)

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(exporter := Unlooked()))
    told = [(established(id=new_id()), below(1)), (query(), below(1))]
    Bridge(tracers, None, None).consume([*told, (established(id=new_id()), below(2, remote=True))])
    tracers.force_flush()
    encoder = SpanEncoder()
    ours = ExportTraceServiceRequest.FromString(encoder.encode(exporter.spans))
    assert [type(span) for span in exporter.spans] == [LateOpening, Late, LateOpening]
    assert ours == encode_spans(exporter.spans)
    assert not encoder.fallbacks
