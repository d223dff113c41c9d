"""What passes at once is what would have come of it the long way."""

import random

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents.bridge import Bridge
from otel_dbevents.events import Statement, TraceParent, new_id
from tests.bridge.support import END, MS, SELECT, established, executed, failed

OTHER = Statement("DELETE FROM a", "DELETE a")
PARENTS = [
    (
        TraceParent(bytes(15) + bytes([number]), bytes(7) + bytes([number]), flags),
        set_span_in_context(
            NonRecordingSpan(SpanContext(number, number, False, TraceFlags(flags))), Context()
        ),
    )
    for number, flags in ((1, 1), (2, 1), (3, 0))
]


class Kept(SpanProcessor):
    """Takes each span by itself, so that none passes."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


def some_events(chance):
    """Return events of a few spans, in bursts now and then."""
    found, at_ns = [], END
    for _ in range(chance.randrange(1, 120)):
        parent, context = chance.choice([PARENTS[0], *PARENTS])
        at_ns += chance.choice([0, MS])
        given = {"id": new_id(), "parent": parent, "end_time_ns": at_ns}
        statement = chance.choice([SELECT, SELECT, SELECT, OTHER])
        kind = chance.choice([executed] * 20 + [failed, established])
        if kind is executed:
            took_ns = chance.choice([7 * MS] * 20 + [900 * MS])
            given |= {"statement": statement, "duration_ns": took_ns}
        found.append((kind(**given), context))
    return found


def spans_of(processor, batches, **options):
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor)
    bridge = Bridge(tracers, None, None, **options)
    for batch in batches:
        bridge.consume(batch)
    bridge.settle()
    tracers.force_flush()


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("after", [0, 1, 4])
def test_spans_and_folds_are_those_of_the_long_way(seed, after):
    chance = random.Random(seed)
    batches = [some_events(chance) for _ in range(3)]
    spans_of(one_by_one := Kept(), batches, fold_after=after)
    spans_of(BatchSpanProcessor(at_once := InMemorySpanExporter()), batches, fold_after=after)
    passed = [span.to_json() for span in at_once.get_finished_spans()]
    assert passed == [span.to_json() for span in one_by_one.spans]
