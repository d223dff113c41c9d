"""Our encoding of spans against the SDK's own: the same messages, whatever the spans."""

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

import otel_dbevents
from otel_dbevents.exporters.otlp import SpanEncoder
from otel_dbevents.exporters.pairs import Pairs
from tests.exporters.any_span import batches

ENCODER = SpanEncoder()
"""One for all examples: what it remembers of one must not show in another."""

RESOURCE = Resource({"service.name": "shop"})


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """The SDK logs each attribute that it cannot encode, with a traceback."""
    sdks = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")
    sdks.disabled = True
    yield
    sdks.disabled = False


def canonical(request):
    return request.SerializeToString(deterministic=True)


def same(encoder, spans):
    """Whether both encoders say the same: as bytes, as a message with a NaN equals none."""
    ours = ExportTraceServiceRequest.FromString(encoder.encode(spans))
    return canonical(ours) == canonical(encode_spans(spans))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches)
def test_any_spans_are_the_messages_that_the_sdk_makes_of_them(spans):
    assert same(ENCODER, spans)
    assert ENCODER.fallbacks == 0


def span(name="a", trace_id=1, **fields):
    fields.setdefault("context", SpanContext(trace_id, 2, is_remote=False))
    fields.setdefault("resource", RESOURCE)
    return ReadableSpan(name, **fields)


def sent(data):
    """What a request holds: per resource, per scope, the spans' names."""
    request = ExportTraceServiceRequest.FromString(data)
    return [
        [[each.name for each in scope.spans] for scope in resource.scope_spans]
        for resource in request.resource_spans
    ]


def test_spans_as_the_sdk_makes_them_are_the_same_messages():
    finished = InMemorySpanExporter()
    limits = SpanLimits(max_attributes=2, max_events=2, max_links=1, max_attribute_length=3)
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer("shop", "1", "https://example.org", {"k": True})
    state = TraceState([("vendor", "1")])
    remote = SpanContext(3, 4, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    above = set_span_in_context(NonRecordingSpan(remote))
    links = [Link(remote, {"l": 1}), Link(remote, {"m": [1, 2]})]
    with tracer.start_as_current_span("outer", above, SpanKind.SERVER, {"a": "long text"}, links):
        inner = tracer.start_span("inner", attributes={"b": 1, "c": [1.5, 2.5], "d": True})
        for number in range(3):
            inner.add_event("row", {"n": number, "x": "y"})
        inner.record_exception(ValueError("no such row"))
        inner.set_status(StatusCode.ERROR, "no such row")
        inner.end()
    spans = finished.get_finished_spans()
    assert [each.dropped_attributes for each in spans] == [1, 0]
    assert same(SpanEncoder(), spans)


def test_spans_as_the_bridge_makes_them_are_the_same_messages():
    finished = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    engine = create_engine("sqlite://")
    pipeline = otel_dbevents.instrument(engine, tracer_provider=provider)
    try:
        with engine.begin() as connection, provider.get_tracer("app").start_as_current_span("up"):
            for _ in range(3):
                connection.execute(text("SELECT 1"))
            with pytest.raises(DatabaseError):
                connection.execute(text("SELECT * FROM nowhere"))
        assert pipeline.flush(30)
    finally:
        otel_dbevents.uninstrument()
        engine.dispose()
    spans = finished.get_finished_spans()
    assert len(spans) > 4
    encoder = SpanEncoder()
    assert same(encoder, spans)
    assert encoder.fallbacks == 0


class Lazy(BoundedList):
    """A list of the SDK's kind that is made when it is looked at, as those of the bridge's are."""

    dropped = 0
    _lock = threading.Lock()

    def __init__(self, *held):
        self._held = held

    def __getattr__(self, name):
        if name != "_dq":
            raise AttributeError(name)
        return deque(self._held)


@pytest.mark.parametrize("empty", [lambda: BoundedList(9), Lazy], ids=["the SDK's", "another's"])
def test_events_and_links_of_which_there_are_none_are_not_looked_through(empty, monkeypatch):
    span = ReadableSpan("a", SpanContext(1, 1, False), events=empty(), links=empty())
    monkeypatch.delattr(SpanEncoder, "_events")
    encoder = SpanEncoder()
    assert same(encoder, [span])
    assert encoder.fallbacks == 0


def test_what_is_in_a_list_of_another_kind_than_the_sdks_is_told():
    link = Link(SpanContext(3, 3, False))
    encoder = SpanEncoder()
    for held in ({"events": Lazy(Event("e", {"a": 1}, 7))}, {"links": Lazy(link)}):
        empty = {"events": Lazy(), "links": Lazy()}
        assert same(encoder, [ReadableSpan("a", SpanContext(1, 1, False), **{**empty, **held})])
    assert encoder.fallbacks == 0


def test_equal_values_of_different_kinds_stay_apart():
    encoder = SpanEncoder()
    values = [1, True, 1.0, "1", 0, False, 0.0, -0.0, b"1", (1,), (True,)]
    spans = [span(attributes={"k": value}) for value in [*values, *reversed(values)]]
    assert all(same(encoder, [each]) for each in spans)
    assert same(encoder, spans)


def test_equal_resources_and_scopes_are_one_group_in_the_order_of_their_first_span():
    twins = [Resource({"n": 1}), Resource({"n": 1})]
    scopes = [InstrumentationScope("b"), InstrumentationScope("a"), InstrumentationScope("b")]
    other = Resource({"n": True})
    spans = [
        span("1", resource=twins[0], instrumentation_scope=scopes[0]),
        span("2", resource=other, instrumentation_scope=scopes[0]),
        span("3", resource=twins[1], instrumentation_scope=scopes[1]),
        span("4", resource=twins[1], instrumentation_scope=scopes[2]),
    ]
    encoder = SpanEncoder()
    assert sent(encoder.encode(spans)) == [[["1", "4"], ["3"]], [["2"]]]
    assert same(encoder, spans)


def test_what_changes_between_two_exports_is_told_as_it_is_then():
    encoder = SpanEncoder()
    attributes = BoundedAttributes(attributes={"k": "before"}, immutable=False)
    one = span(attributes=attributes, events=BoundedList(3))
    assert same(encoder, [one])
    attributes["k"] = "after"
    assert same(encoder, [one])


class Masked(ReadableSpan):
    """A span that says other attributes than it holds, as processors make them to hide some."""

    @property
    def attributes(self):
        return {"k": "***"}


class Renamed(ReadableSpan):
    """A span that says less than it could: it overrides nothing that is sent."""

    def to_json(self, indent=4):
        return "{}"


def test_a_span_of_another_class_is_told_by_what_it_says():
    encoder = SpanEncoder()
    fields = {"context": SpanContext(1, 2, is_remote=False), "attributes": {"k": "secret"}}
    spans = [Masked("a", **fields), Renamed("b", **fields), span("c", attributes={"k": "v"})]
    assert b"secret" not in encoder.encode(spans[:1])
    assert same(encoder, spans)
    assert encoder.fallbacks == 0


class Loose:
    """A span's identity that only looks like the API's."""

    trace_id, span_id, is_remote, trace_state = 1, 2, False, TraceState()


@pytest.mark.swallows
def test_a_surprise_in_one_span_takes_the_batch_through_the_sdks_encoder(caplog):
    encoder = SpanEncoder()
    spans = [span("a"), span("b", context=Loose()), span("c")]
    assert same(encoder, spans)
    assert same(encoder, spans)
    assert (encoder.fallbacks, encoder.lost) == (2, 0)
    [said] = caplog.records
    assert said.getMessage().startswith("a batch of spans goes through the SDK's own")


@pytest.mark.swallows
def test_a_span_that_nobody_can_encode_is_lost_alone_and_counted(caplog):
    encoder = SpanEncoder()
    resources = [Resource({"n": 1}), Resource({"n": 2})]
    broken = span("broken", context=None)
    spans = [span("a", resource=resources[0]), broken, span("b", resource=resources[1]), broken]
    assert sent(encoder.encode(spans)) == [[["a"]], [["b"]]]
    assert encoder.lost == 2
    assert [record.getMessage().split(" (said")[0] for record in caplog.records] == [
        "a batch of spans goes through the SDK's own, slower encoder",
        "a span cannot be encoded and is lost",
    ]


@pytest.mark.swallows
def test_where_no_span_is_left_the_error_is_the_sdks():
    spans = [span("broken", context=None)]
    with pytest.raises(AttributeError) as ours:
        SpanEncoder().encode(spans)
    with pytest.raises(AttributeError) as sdks:
        encode_spans(spans)
    assert str(ours.value) == str(sdks.value)


def test_what_is_remembered_is_bounded():
    encoder = SpanEncoder()
    for number in range(200):
        names = [f"{number} {each}" for each in range(50)]
        scope = InstrumentationScope(str(number))
        spans = [
            span(name, attributes={f"k{name}": name, "n": number}, instrumentation_scope=scope)
            for name in names
        ]
        encoder.encode(spans)
    kept = encoder._pairs
    assert 0 < kept.remembered <= 1 << 20
    assert sum(len(values) for keys in kept._known.values() for values in keys.values()) < 5_000
    assert sum(map(len, encoder._names)) <= 1_024
    assert len(encoder._heads) <= 64
    assert same(encoder, [span("0 0", attributes={"k0 0": "0 0", "n": 0})])


def test_a_long_text_is_encoded_and_not_remembered():
    encoder = SpanEncoder()
    attributes = {"k": "v" * 5_000, "m": 2**40, "d": 1.5}
    assert same(encoder, [span("n" * 300, attributes=attributes, resource=Resource({}))])
    assert encoder._pairs.remembered == 0
    assert not any(encoder._names)


def test_threads_that_forget_under_each_other_encode_the_same():
    encoder = SpanEncoder()
    encoder._pairs = Pairs(encoder._pairs._unusual, 2_000)
    batches = [
        [
            span(attributes={f"k{n % 3}": f"{each} {n}", "n": n}, start_time=1, end_time=2)
            for n in range(50)
        ]
        for each in range(4)
    ]
    expected = [encode_spans(batch).SerializeToString() for batch in batches]

    def encode(which):
        return {encoder.encode(batches[which]) for _ in range(30)} == {expected[which]}

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(encode, range(4)))
