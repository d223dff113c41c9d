"""When the shortcut is taken, and that what it leaves out is what nobody would have seen."""

import gc
import weakref

import pytest
from opentelemetry.context import Context, set_value
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanProcessor,
    Tracer,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from otel_dbevents.bridge import Bridge, likeness
from otel_dbevents.bridge.attributes import SCHEMA_URL, SCOPE, VERSION
from otel_dbevents.bridge.contents import Unfilled
from otel_dbevents.bridge.pointing import context_of
from otel_dbevents.bridge.sampling import verdicts_of
from otel_dbevents.events import new_id
from tests.bridge.support import PARENT, SELECT, executed, failed


class Kept(SpanProcessor):
    """Keeps the spans that ended."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


class Marking(SpanProcessor):
    """Writes on each span that starts."""

    def on_start(self, span, parent_context=None):
        span.set_attribute("mark", "at the start")


class Untellable:
    """A statement that nobody can look at."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was looked at")

    __hash__ = None


def parent(flags=1):
    identity = SpanContext(
        int.from_bytes(PARENT.trace_id, "big"),
        int.from_bytes(PARENT.span_id, "big"),
        False,
        TraceFlags(flags),
    )
    return set_span_in_context(NonRecordingSpan(identity), Context())


def provider(*processors, sampler=ALWAYS_ON, **options):
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False, **options)
    for processor in processors:
        made.add_span_processor(processor)
    return made


def tracer_of(tracers):
    """Return the tracer that a bridge gets too: some versions make a new one each time."""
    tracer = tracers.get_tracer(SCOPE, VERSION, SCHEMA_URL)
    tracers.get_tracer = lambda *_: tracer
    return tracer


def tell(tracers, *events, context=None):
    bridge = Bridge(tracers, None, None)
    bridge.consume([(event, parent() if context is None else context) for event in events])
    return bridge


def started(monkeypatch):
    """Count the calls of ``start_span``, which no shortcut may see as standing in its way."""
    calls = []
    original = Tracer._is_enabled
    monkeypatch.setattr(Tracer, "_is_enabled", lambda self: calls.append(1) or original(self))
    return calls


def test_this_version_of_the_sdk_has_a_shortcut():
    found = likeness.shortcut(tracer_of(provider()))
    assert found is not None
    assert found.is_open


def test_a_span_nobody_sees_open_comes_without_start_span(monkeypatch):
    kept, calls = Kept(), started(monkeypatch)
    tell(provider(kept), *[executed(id=new_id()) for _ in range(10)])
    assert len(kept.spans) == 10
    assert all(isinstance(span, ReadableSpan) for span in kept.spans)
    assert [span.name for span in kept.spans] == ["SELECT customers"] * 10
    assert all(type(span) is ReadableSpan for span in kept.spans)
    assert len(calls) < 10  # it is asked once for a batch; start_span asks for each


@pytest.mark.swallows(sometimes=True)
@pytest.mark.parametrize("mood", ["new", None], ids=["another name", "another attribute"])
def test_an_sdk_that_makes_its_spans_otherwise_has_none(monkeypatch, mood):
    original = sdk._Span._readable_span

    def readable(self):
        span = original(self)
        span._name += "?"
        if mood:
            span._attributes = {"mood": mood}
        return span

    likeness._traits.cache_clear()
    try:
        monkeypatch.setattr(sdk._Span, "_readable_span", readable)
        assert likeness.shortcut(tracer_of(provider())) is None
        tell(provider(kept := Kept()), executed())
        assert kept.spans[0].name == "SELECT customers?"
    finally:
        monkeypatch.undo()
        likeness._traits.cache_clear()


def test_a_tracer_with_a_part_nobody_knows_has_none():
    tracers = provider()
    tracer_of(tracers)._novelty = 1
    assert likeness.shortcut(tracer_of(tracers)) is None


def test_a_tracer_of_another_class_starts_its_spans_itself():
    class Own(Tracer):
        def start_span(self, name, *arguments, **options):
            return super().start_span("own " + name, *arguments, **options)

    kept = Kept()
    tracers = provider(kept)
    tracer_of(tracers).__class__ = Own
    tell(tracers, executed())
    assert kept.spans[0].name == "own SELECT customers"


@pytest.mark.parametrize("place", ["tracer", "class"])
def test_who_wraps_start_span_later_is_not_passed_by(monkeypatch, place):
    kept, names = Kept(), []
    tracers = provider(kept)
    tracer = tracer_of(tracers)
    bridge = tell(tracers, executed())
    original = Tracer.start_span

    def wrapped(self, name, *arguments, **options):
        names.append(name)
        return original(self, name, *arguments, **options)

    if place == "class":
        monkeypatch.setattr(Tracer, "start_span", wrapped)
    else:
        tracer.start_span = lambda *arguments, **options: wrapped(tracer, *arguments, **options)
    bridge.consume([(executed(), parent())])
    assert names == ["SELECT customers"]
    assert len(kept.spans) == 2


def test_a_processor_that_comes_later_writes_on_what_starts_from_then_on():
    kept = Kept()
    tracers = provider()
    bridge = tell(tracers, executed())
    tracers.add_span_processor(Marking())
    tracers.add_span_processor(kept)
    bridge.consume([(executed(), parent())])
    assert kept.spans[0].attributes["mark"] == "at the start"


def test_a_processor_may_come_within_a_batch():
    class Bringing(Kept):
        def on_end(self, span):
            if not self.spans:
                tracers.add_span_processor(Marking())
            super().on_end(span)

    tracers = provider(kept := Bringing())
    tell(tracers, executed(), executed())
    assert ["mark" in span.attributes for span in kept.spans] == [False, True]


@pytest.mark.parametrize("name", ["on_start", "_on_ending"])
@pytest.mark.parametrize("where", ["object", "class"])
def test_a_processor_that_is_given_something_to_do_does_it(name, where):
    class Silent(Kept):
        pass

    kept = Silent()
    bridge = tell(tracers := provider(kept), executed())
    assert tracers
    told = []
    receiver = kept if where == "object" else Silent
    setattr(receiver, name, lambda *arguments, **_: told.append(arguments[-1]))
    bridge.consume([(executed(), parent())])
    assert len(told) == 1
    assert told[0].name == "SELECT customers"


def test_processors_that_run_in_threads_get_the_same():
    kept = Kept()
    threads = ConcurrentMultiSpanProcessor()
    tell(provider(kept, active_span_processor=threads), executed())
    threads.add_span_processor(Marking())
    tell(provider(active_span_processor=threads), executed())
    threads._executor.shutdown()
    assert ["mark" in span.attributes for span in kept.spans] == [False, True]


def test_the_sdks_own_processors_and_exporters_get_what_they_always_get():
    one, two = InMemorySpanExporter(), InMemorySpanExporter()
    tracers = provider(SimpleSpanProcessor(one), BatchSpanProcessor(two))
    tell(tracers, executed(), failed())
    tracers.shutdown()
    assert one.get_finished_spans() == two.get_finished_spans()
    assert [span.name for span in one.get_finished_spans()] == ["SELECT customers"] * 2


@pytest.mark.swallows
def test_a_processor_that_raises_costs_only_its_own_span():
    class Raising(SpanProcessor):
        def on_end(self, span):
            raise RuntimeError("no")

    assert tell(provider(Raising()), executed(), executed()).lost == {"span_error": 2}


@pytest.mark.swallows
def test_a_sampler_that_raises_costs_only_its_span():
    class Broken(Sampler):
        def should_sample(self, *asked, **more):
            raise RuntimeError("no")

        def get_description(self):
            return "Broken"

    assert tell(provider(sampler=Broken()), executed()).lost == {"span_error": 1}


@pytest.mark.swallows
@pytest.mark.parametrize(
    ("sampler", "context"),
    [
        (DEFAULT_ON, parent(flags=0)),
        (ALWAYS_OFF, parent()),
        (TraceIdRatioBased(0.0), parent()),
        (ParentBased(ALWAYS_OFF), Context()),
    ],
    ids=["parent", "off", "ratio", "root"],
)
def test_of_a_query_that_is_not_sampled_nothing_is_computed(sampler, context):
    event = executed(statement=Untellable())
    assert not tell(provider(sampler=sampler), event, context=context).lost
    assert tell(provider(), failed(statement=Untellable())).lost == {"span_error": 1}


def test_a_span_that_was_not_sampled_can_be_pointed_to():
    event = executed()
    spans = Bridge(provider(sampler=ALWAYS_OFF), None, None)._spans
    found = get_current_span(context_of(spans.record(event, parent()))).get_span_context()
    assert found.span_id == int.from_bytes(event.id[8:], "big")
    assert found.trace_flags & 1 == 0


class Asked(Sampler):
    """Says yes, and counts."""

    def __init__(self):
        self.times = 0

    def should_sample(self, *asked, **more):
        self.times += 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self):
        return "Asked"


class AskedStatic(StaticSampler):
    should_sample = Asked.should_sample
    times = 0


@pytest.mark.parametrize(
    "sampler",
    [
        Asked(),
        AskedStatic(Decision.DROP),
        ParentBased(Asked()),
        ParentBased(ParentBased(ALWAYS_ON)),
        StaticSampler(Decision.RECORD_ONLY),
    ],
    ids=["another's", "a subclass", "within", "nested", "record only"],
)
def test_what_is_not_known_of_a_sampler_is_asked(sampler):
    assert verdicts_of(sampler)[0] is None


def test_a_sampler_of_anothers_is_never_tried():
    sampler = Asked()
    tell(provider(sampler=ParentBased(ALWAYS_OFF, local_parent_sampled=sampler)), executed())
    assert sampler.times == 1


def test_an_sdk_whose_samplers_think_otherwise_is_asked(monkeypatch):
    monkeypatch.setattr(TraceIdRatioBased, "TRACE_ID_LIMIT", (1 << 56) - 1)
    assert verdicts_of(TraceIdRatioBased(0.5))[0] is None


def test_a_sampler_that_is_replaced_is_replaced_here():
    tracer = tracer_of(tracers := provider(kept := Kept()))
    bridge = tell(tracers, executed())
    tracer.sampler = ALWAYS_OFF
    bridge.consume([(executed(), parent())])
    assert len(kept.spans) == 1


def test_ids_of_a_generator_that_is_replaced_are_that_ones():
    tracer = tracer_of(tracers := provider(kept := Kept()))
    bridge = tell(tracers, event := executed())
    tracer.id_generator = RandomIdGenerator()
    bridge.consume([(event, parent())])
    first, second = (span.context.span_id for span in kept.spans)
    assert first != second


@pytest.mark.parametrize("processor", [Kept, Marking], ids=["quiet", "writing"])
@pytest.mark.parametrize("flags", [0, 1], ids=["unsampled", "sampled"])
def test_the_sdk_counts_our_spans_as_it_counts_others(monkeypatch, processor, flags):
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    counts = []
    for ours in (True, False):
        reader = InMemoryMetricReader()
        meters = MeterProvider([reader], shutdown_on_exit=False)
        tracers = provider(processor(), sampler=DEFAULT_ON, meter_provider=meters)
        if ours:
            tell(tracers, *[executed() for _ in range(3)], context=parent(flags))
            tell(tracers, executed(), context=Context())
        else:
            for context in [parent(flags)] * 3 + [Context()]:
                tracer_of(tracers).start_span("", context).end()
        counts.append(sorted(points(reader)))
    assert counts[0] == counts[1]
    assert len(counts[0]) >= 2


def points(reader):
    for each in reader.get_metrics_data().resource_metrics:
        for metric in each.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                yield metric.name, sorted(point.attributes.items()), point.value


def test_a_tracer_that_is_switched_off_starts_nothing(monkeypatch):
    tracers = provider(kept := Kept())
    bridge = tell(tracers, executed())
    monkeypatch.setattr(Tracer, "_is_enabled", lambda _: False)
    bridge.consume([(executed(), parent())])
    assert len(kept.spans) == 1


def test_one_span_is_not_changed_by_what_is_done_to_another():
    class Spoiling(Kept):
        def on_end(self, span):
            self.spans.append(dict(span.attributes))
            span._attributes._dict.clear()
            span._events._dq.append("x")

    tell(provider(kept := Spoiling()), executed(), executed())
    assert kept.spans[0] == kept.spans[1]
    assert kept.spans[0]["db.query.text"] == SELECT.query_text


def test_queries_of_spans_that_take_turns_have_each_its_own_parent():
    def under(number, flags):
        identity = SpanContext(number, number, False, TraceFlags(flags))
        return set_span_in_context(NonRecordingSpan(identity), Context())

    one, dropped, other, nobody = under(1, 1), under(2, 0), under(3, 1), under(0, 0)
    tracers = provider(kept := Kept(), sampler=ParentBased(ALWAYS_ON))
    turns = [one, one, dropped, one, nobody, other, dropped, dropped, nobody, other]
    Bridge(tracers, None, None).consume([(executed(), context) for context in turns])
    parents = [span.parent and span.parent.span_id for span in kept.spans]
    assert parents == [1, 1, 1, None, 3, None, 3]
    assert [span.context.trace_id for span in kept.spans if span.parent] == [1, 1, 1, 3, 3]
    assert len({span.context.trace_id for span in kept.spans}) == 4


def test_a_sampler_may_be_replaced_between_two_queries_of_one_span():
    class Replacing(Kept):
        def on_end(self, span):
            super().on_end(span)
            tracer.sampler = ALWAYS_OFF

    tracers = provider(kept := Replacing())
    tracer = tracer_of(tracers)
    context = parent()
    Bridge(tracers, None, None).consume([(executed(), context) for _ in range(3)])
    assert len(kept.spans) == 1


def test_what_a_context_holds_is_let_go_with_its_batch():
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    context = set_value("held", held, parent())
    bridge = Bridge(provider(Kept()), None, None)
    bridge.consume([(executed(), context)])
    del held, context
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("most", [None, 0, 2])
def test_an_empty_list_of_a_span_is_one_that_can_be_filled(most):
    told = []
    for held in (Unfilled(most), BoundedList(most)):
        told.append([len(held), list(held), held.dropped, bool(held), repr(held)[-14:]])
        held.append(1)
        held.extend([2, 3][:most])
        told[-1] += [len(held), list(held), held.dropped, list(reversed(held)), held._dq.maxlen]
    assert told[0] == told[1]
    assert not hasattr(Unfilled(most), "nothing")
