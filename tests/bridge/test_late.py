"""A plain query's span has no parts until somebody looks, and then they are those it always had."""

import copy
import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge.late import Late, LateOpening
from otel_dbevents.events import CodeLocation, LlmContext, new_id
from tests.bridge.support import established, executed, timed_out

ABOVE = set_span_in_context(NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1))), Context())


class Kept(SpanProcessor):
    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


def late(event):
    """Return the span of an event, which nobody has looked at."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(kept := Kept())
    Bridge(tracers, None, None).consume([(event, ABOVE)])
    (span,) = kept.spans
    assert type(span) is Late
    return span


@pytest.mark.parametrize("part", sorted(vars(ReadableSpan(""))))
def test_whatever_is_looked_at_first_it_is_the_sdks_own_from_then_on(part):
    event = executed(id=new_id(), returned_rows=3)
    span, whole = late(event), late(event)
    assert whole.name == "SELECT customers"
    assert getattr(span, part, None) is not None or part == "_instrumentation_info"
    assert type(span) is type(whole) is ReadableSpan
    assert span.to_json() == whole.to_json()
    assert vars(span).keys() == vars(ReadableSpan("")).keys()


def test_what_a_span_has_not_it_has_not():
    with pytest.raises(AttributeError, match="_colour"):
        _ = late(executed())._colour


def test_a_copy_is_a_span_like_any_other():
    span = late(executed(id=new_id()))
    copied = copy.copy(span)
    assert type(copied) is ReadableSpan
    assert copied.to_json() == span.to_json()


def test_threads_that_look_at_once_see_the_same():
    span, seen, start = late(executed(id=new_id())), [], threading.Barrier(8)

    def look():
        start.wait()
        seen.append((span.name, span.context, dict(span.attributes), span.status.status_code))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(each == seen[0] for each in seen)


@pytest.mark.swallows
def test_what_cannot_be_told_when_an_exporter_looks_is_a_span_that_says_little():
    span = late(executed(id=new_id(), statement=None))
    assert (span.name, dict(span.attributes)) == ("query", {})
    assert span.parent.span_id == 6


@pytest.mark.parametrize(
    "more",
    [{"attributes": {"a": 1}}, {"called_from": CodeLocation("a.py", 1)}, {"llm": LlmContext()}],
    ids=["hooks", "a place", "LLM work"],
)
def test_a_query_that_says_more_than_its_statement_has_its_parts_at_once(more):
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(kept := Kept())
    Bridge(tracers, None, None).consume([(executed(**more), ABOVE)])
    assert type(kept.spans[0]) is ReadableSpan


def test_it_keeps_nothing_of_the_application_alive_but_the_span_above():
    span = late(executed())
    held = [span._event, *(getattr(span._above, name) for name in span._above.__struct_fields__)]
    assert not any(isinstance(each, Context) for each in held)


# How spans get to the processors


def told(*processors, number=5, events=None):
    tracers = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        tracers.add_span_processor(processor)
    bridge = Bridge(tracers, None, None)
    events = events or [executed(id=new_id()) for _ in range(number)]
    bridge.consume([(event, ABOVE) for event in events])
    return bridge


def span_ids(events):
    return [int.from_bytes(event.id[8:], "big") for event in events]


def exported_ids(exporter):
    return [span.context.span_id for span in exporter.get_finished_spans()]


def batching(exporter, **options):
    return BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000, **options)


def test_two_batch_processors_get_all_in_their_order():
    exporters = InMemorySpanExporter(), InMemorySpanExporter()
    processors = [batching(exporter) for exporter in exporters]
    events = [executed(id=new_id()) for _ in range(20)]
    told(*processors, events=events)
    for processor in processors:
        processor.force_flush()
    one, two = (exporter.get_finished_spans() for exporter in exporters)
    assert [id(span) for span in one] == [id(span) for span in two]
    assert exported_ids(exporters[0]) == span_ids(events)


def test_a_span_that_lives_for_a_moment_comes_in_its_order():
    processor = batching(exporter := InMemorySpanExporter())
    events = [executed(id=new_id()), timed_out(id=new_id()), executed(id=new_id())]
    told(processor, events=events)
    processor.shutdown()
    assert exported_ids(exporter) == span_ids(events)
    assert [len(span.links) for span in exporter.get_finished_spans()] == [0, 1, 0]


def test_a_processor_that_comes_within_a_batch_sees_what_ends_after_it():
    events, kept = [executed(id=new_id()) for _ in range(4)], Kept()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor := batching(exporter := InMemorySpanExporter()))

    def bring(event):
        if event is events[2]:
            tracers.add_span_processor(kept)
        return True

    bridge = Bridge(tracers, None, None, span_filter=bring)
    bridge.consume([(event, ABOVE) for event in events])
    processor.shutdown()
    assert exported_ids(exporter) == span_ids(events)
    assert [span.context.span_id for span in kept.spans] == span_ids(events[2:])


def test_a_batch_is_in_the_queue_without_a_call_for_each():
    class Own(BatchSpanProcessor):
        calls = 0

        def on_end(self, span):
            Own.calls += 1
            super().on_end(span)

    plain = batching(InMemorySpanExporter())
    told(plain)
    assert [type(span) for span in plain._batch_processor._queue] == [Late] * 5
    own = Own(InMemorySpanExporter(), schedule_delay_millis=3_600_000)
    told(own, plain)
    assert Own.calls == 5
    assert len(plain._batch_processor._queue) == 10
    for each in (own, plain):
        each.shutdown()


def test_a_processor_that_is_for_others_spans_only_is_in_nobodys_way():
    class ForOthers(SpanProcessor):
        silent_for = frozenset({"otel_dbevents"})

        def on_start(self, span, parent_context=None):
            raise AssertionError

        def on_end(self, span):
            assert span.name

    plain = batching(InMemorySpanExporter())
    told(ForOthers(), plain)
    assert [type(span) for span in plain._batch_processor._queue] == [Late] * 5
    plain.shutdown()


@pytest.mark.parametrize("where", ["on_end", "emit"])
def test_what_was_put_in_the_way_of_a_batch_processor_is_not_passed_by(where):
    processor, calls = batching(InMemorySpanExporter()), []
    owner = processor if where == "on_end" else processor._batch_processor
    original = getattr(owner, where)
    setattr(owner, where, lambda span: calls.append(span) or original(span))
    told(processor)
    assert len(calls) == 5
    processor.shutdown()


def test_a_full_queue_drops_the_oldest_as_it_does_without_us(caplog):
    exporter = InMemorySpanExporter()
    processor = batching(exporter, max_queue_size=8, max_export_batch_size=8)
    with processor._batch_processor._export_lock:  # it is exporting for long
        told(processor, number=6)
        told(processor, number=6)
        assert "Queue full, dropping Span." in caplog.text
        assert len(processor._batch_processor._queue) == 8
    processor.shutdown()


def test_a_full_batch_wakes_the_exporter():
    exported = threading.Event()

    class Exporter(InMemorySpanExporter):
        def export(self, spans):
            exported.set()
            return super().export(spans)

    processor = batching(Exporter(), max_queue_size=8, max_export_batch_size=4)
    told(processor, number=4)
    assert exported.wait(60)
    processor.shutdown()


def test_a_processor_that_comes_between_two_batches_sees_the_second_only():
    exporter, kept = InMemorySpanExporter(), Kept()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor := batching(exporter))
    bridge = Bridge(tracers, None, None)
    bridge.consume([(first := executed(id=new_id()), ABOVE)])
    tracers.add_span_processor(kept)
    bridge.consume([(second := executed(id=new_id()), ABOVE)])
    processor.shutdown()
    assert exported_ids(exporter) == span_ids([first, second])
    assert [span.context.span_id for span in kept.spans] == span_ids([second])


@pytest.mark.swallows
def test_what_a_processor_does_not_take_is_counted():
    class Many(SpanProcessor):
        def on_end(self, span):
            raise AssertionError

        def for_all(self, spans):
            raise RuntimeError("no")

    vars(Many.on_end)["for_all"] = Many.for_all
    plain = batching(exporter := InMemorySpanExporter())
    assert told(Many(), plain).lost == {"span_error": 5}
    plain.shutdown()
    assert len(exporter.get_finished_spans()) == 5


class Unlooked(InMemorySpanExporter):
    """Keeps what it is given as it is."""

    def export(self, spans):
        self.spans = list(spans)
        return super().export(spans)


def handed_over(*told):
    """Return the spans as an exporter gets them, which nobody has looked at."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(exporter := Unlooked()))
    Bridge(tracers, None, None).consume(list(told))
    tracers.force_flush()
    return exporter.spans


@pytest.mark.parametrize("part", sorted(vars(ReadableSpan(""))))
def test_a_new_connections_span_is_late_too_and_says_what_it_always_said(part):
    event = established(id=new_id())
    (span,) = handed_over((event, ABOVE))
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(kept := Kept())
    Bridge(tracers, None, None).consume([(event, ABOVE)])
    assert type(span) is LateOpening
    assert getattr(span, part, None) is not None or part == "_instrumentation_info"
    assert type(span) is ReadableSpan
    assert span.to_json() == kept.spans[0].to_json()
    assert vars(span).keys() == vars(kept.spans[0]).keys()


def test_a_connection_that_says_more_is_told_the_long_way():
    llm = LlmContext(b"12345678", "ask")
    spans = handed_over((established(id=new_id(), llm=llm), ABOVE), (established(), ABOVE))
    assert [type(span) for span in spans] == [ReadableSpan, LateOpening]
