"""Which events have a span, whose ids it has, and what drops it."""

import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge.attributes import SCHEMA_URL, SCOPE, VERSION
from otel_dbevents.bridge.ids import EventIds
from otel_dbevents.bridge.spans import Spans, parent_context
from otel_dbevents.events import TraceParent, new_id, trace_id_of
from tests.bridge.support import (
    MS,
    PARENT,
    Told,
    checked_in,
    checked_out,
    closed,
    commit_failed,
    committed,
    connect_failed,
    established,
    executed,
    failed,
    health,
    invalidated,
    recovered,
    released,
    repeated,
    rolled_back,
    slow,
    timed_out,
)


def test_the_same_event_makes_the_same_span_in_two_processes():
    event = executed(parent=None)
    here, there = Told().tell(event).span, Told().tell(event).span
    assert here.context == there.context
    assert here.context.span_id == int.from_bytes(event.id[8:], "big")
    assert here.context.trace_id == trace_id_of(event.id)


def test_without_a_captured_context_the_parent_is_the_events():
    state = TraceParent(PARENT.trace_id, PARENT.span_id, 1, "a=1,b=2")
    span = Told().tell(executed(parent=state)).span
    assert span.parent.trace_id == span.context.trace_id == int.from_bytes(PARENT.trace_id, "big")
    assert span.parent.span_id == int.from_bytes(PARENT.span_id, "big")
    assert not span.parent.is_remote
    assert dict(span.context.trace_state) == {"a": "1", "b": "2"}


def test_a_captured_context_is_used_rather_than_the_events_parent():
    captured = set_span_in_context(
        NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1))), Context()
    )
    span = Told().tell(executed(), context=captured).span
    assert (span.parent.trace_id, span.parent.span_id) == (1, 2)


def test_an_event_without_parent_is_a_root_whatever_is_current_here():
    told = Told()
    with told.tracers.get_tracer("application").start_as_current_span("current"):
        told.tell(executed(parent=None))
        told.tell(executed(parent=None), context=Context())
    ours = [span for span in told.spans if span.name != "current"]
    assert [span.parent for span in ours] == [None, None]


@pytest.mark.parametrize(
    "event",
    [
        released(),
        checked_in(),
        closed(),
        invalidated(),
        health(),
        recovered(),
        repeated(),
        slow(executed()),
        checked_out(duration_ns=MS - 1),
        checked_out(duration_ns=50 * MS, create_ns=50 * MS),
        established(duration_ns=-1),
        connect_failed(duration_ns=-1),
        committed(duration_ns=-1),
        rolled_back(duration_ns=-1),
    ],
    ids=lambda event: event.event_type,
)
def test_what_has_no_span(event):
    assert Told().tell(event).spans == ()


def test_a_waits_span_begins_when_the_wait_began():
    span = Told(wait_span_ns=5 * MS).tell(checked_out(duration_ns=7 * MS, create_ns=2 * MS)).span
    assert span.end_time - span.start_time == 7 * MS


def test_a_short_call_has_no_span_unless_it_failed_or_was_slow():
    told = Told(min_duration_ns=100 * MS, slow_query_ns=50 * MS)
    told.tell(executed(duration_ns=49 * MS), committed(duration_ns=1), established())
    assert told.spans == ()
    told.tell(executed(duration_ns=50 * MS), failed(duration_ns=1), commit_failed(duration_ns=1))
    told.tell(executed(duration_ns=20 * MS, reading_ns=30 * MS))
    assert len(told.spans) == 4
    counts = [point.count for point in told.points("db.client.operation.duration")]
    assert sum(counts) == 6


def test_without_a_slow_threshold_the_shortest_duration_alone_decides():
    told = Told(min_duration_ns=100 * MS, slow_query_ns=0)
    told.tell(executed(duration_ns=99 * MS), executed(duration_ns=100 * MS))
    assert len(told.spans) == 1


def test_what_needs_a_parent_has_no_span_without_one_and_its_record_no_trace():
    told = Told(require_parent=True)
    query = failed(parent=None)
    told.tell(query, slow(query, parent=None), timed_out(parent=None), executed())
    assert [span.name for span in told.spans] == ["SELECT customers"]
    assert {record.trace_id for record in told.records} == {0}
    assert told.point("db.client.connection.timeouts").value == 1


def test_a_timeout_links_to_the_spans_that_hold_the_connections():
    span = Told().tell(timed_out()).span
    (link,) = span.links
    assert link.context.span_id == int.from_bytes(PARENT.span_id, "big")
    assert link.attributes == {"dbevents.pool.holder.held": 3.0}


def test_no_exception_event_is_added():
    assert Told().tell(failed(), commit_failed(), connect_failed()).spans[0].events == ()


def test_values_stay_out_of_the_status():
    assert Told().tell(failed()).span.status.description == "permission denied"


def test_the_scope_names_us_and_the_conventions():
    scope = Told().tell(executed()).span.instrumentation_scope
    assert scope.name == "otel_dbevents"
    assert scope.version
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_a_tracer_without_an_sdk_does_nothing():
    bridge = Bridge(NoOpTracerProvider(), None, None)
    bridge.consume([(executed(), None), (executed(parent=None), Context())])
    assert not bridge.lost


def test_two_bridges_on_one_provider_keep_the_events_ids():
    told = Told()
    second = Bridge(told.tracers, None, None)
    events = [executed(), executed()]
    told.tell(events[0])
    second.consume([(events[1], None)])
    assert [span.context.span_id.to_bytes(8, "big") for span in told.spans] == [
        event.id[8:] for event in events
    ]


def test_somebody_elses_use_of_our_tracer_gets_random_ids():
    told = Told().tell(executed(parent=None))
    tracer = told.tracers.get_tracer(SCOPE, VERSION, SCHEMA_URL)
    for _ in range(2):
        tracer.start_span("theirs", Context()).end()
    assert len({span.context.trace_id for span in told.spans}) == 3


def test_a_sampler_that_raises_leaves_no_id_behind():
    class Raising(Sampler):
        def should_sample(self, *asked, **more):
            raise RuntimeError("no")

        def get_description(self):
            return "Raising"

    event = executed()
    spans = Spans(TracerProvider(sampler=Raising(), shutdown_on_exit=False))
    with pytest.raises(RuntimeError):
        spans.record(event, Context())
    assert spans._ids.generate_span_id() != int.from_bytes(event.id[8:], "big")


def test_ids_belong_to_the_thread_that_is_telling():
    ids, elsewhere = EventIds(), []
    event_id = new_id()
    ids.use(event_id)
    thread = threading.Thread(target=lambda: elsewhere.append(ids.generate_span_id()))
    thread.start()
    thread.join()
    assert ids.generate_trace_id() == trace_id_of(event_id)
    assert ids.generate_span_id() == int.from_bytes(event_id[8:], "big") != elsewhere[0]
    assert ids.generate_trace_id() != trace_id_of(event_id)
    assert ids.is_trace_id_random()


def test_trace_ids_differ_wherever_event_ids_do():
    ids = {new_id() for _ in range(1000)}
    assert len({trace_id_of(each) for each in ids}) == 1000
    assert all(trace_id_of(each) for each in ids)


def test_a_slow_querys_judgement_points_to_its_span():
    query = executed(duration_ns=900 * MS)
    told = Told().tell(query, slow(query))
    (record,) = told.records
    assert (record.trace_id, record.span_id) == (
        told.span.context.trace_id,
        told.span.context.span_id,
    )
    root = executed(parent=None)
    spans = Spans(TracerProvider(shutdown_on_exit=False))
    found = get_current_span(spans.record(slow(root, parent=None), Context())).get_span_context()
    assert found.trace_id == trace_id_of(root.id)


def test_where_ids_are_not_ours_the_judgement_points_to_the_parent():
    context = parent_context(executed(), None)
    assert Spans(NoOpTracerProvider()).record(slow(executed()), context) is context


def test_an_unsampled_span_still_counts_and_its_record_has_its_ids():
    told = Told(sampler=ALWAYS_OFF).tell(failed())
    (record,) = told.records
    assert told.spans == ()
    assert record.trace_id == int.from_bytes(PARENT.trace_id, "big")
    assert not record.trace_flags & 1
    point = told.point("db.client.operation.duration")
    assert point.count == 1
    assert not point.exemplars
