"""Spans become lines: parents above children, rows of equal siblings as one."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.demo.tree import by_trace, lines

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test")
    provider.shutdown()


def drawn(exporter) -> list[str]:
    (trace,) = by_trace(exporter.get_finished_spans()).values()
    return [
        line.branch + line.span.name + (f" x{len(line.spans)}" if len(line.spans) > 1 else "")
        for line in lines(trace)
    ]


def test_children_are_below_their_parents_in_the_order_they_started(tracer, exporter):
    with tracer.start_as_current_span("root"):
        with tracer.start_as_current_span("first"), tracer.start_as_current_span("leaf"):
            pass
        with tracer.start_as_current_span("second"):
            pass
    assert drawn(exporter) == ["root", "├─ first", "│  └─ leaf", "└─ second"]


def test_equal_siblings_in_a_row_are_one_line_with_their_time_added_up(tracer, exporter):
    with tracer.start_as_current_span("root"):
        for number in range(5):
            span = tracer.start_span("query", start_time=1000 + number * 100)
            span.set_attribute("db.response.returned_rows", 2)
            span.end(1010 + number * 100)
    assert drawn(exporter) == ["root", "└─ query x5"]
    (trace,) = by_trace(exporter.get_finished_spans()).values()
    row = lines(trace)[1]
    assert row.duration_ns == 50
    assert (row.start_ns, row.end_ns) == (1000, 1410)
    assert row.total("db.response.returned_rows") == 10


def test_a_folded_span_counts_as_many_with_the_time_that_it_says(tracer, exporter):
    with tracer.start_as_current_span("root"):
        for number in range(4):
            tracer.start_span("query", start_time=1000 + number * 100).end(1010 + number * 100)
        said = {"count": 15, "duration": 2e-7, "longest": 3e-8}
        many = {f"dbevents.folded.{name}": value for name, value in said.items()}
        tracer.start_span("query", attributes=many, start_time=1400).end(9000)
    (trace,) = by_trace(exporter.get_finished_spans()).values()
    row = lines(trace)[1]
    assert (row.count, len(row.spans)) == (19, 5)
    assert (row.duration_ns, row.longest_ns) == (240, 30)
    assert (row.start_ns, row.end_ns) == (1000, 9000)


def test_a_few_equal_siblings_stay_lines_of_their_own(tracer, exporter):
    with tracer.start_as_current_span("root"):
        for _ in range(3):
            tracer.start_span("query").end()
    assert drawn(exporter) == ["root", "├─ query", "├─ query", "└─ query"]


def test_siblings_with_children_are_not_made_one(tracer, exporter):
    with tracer.start_as_current_span("root"):
        for _ in range(4):
            with tracer.start_as_current_span("step"):
                tracer.start_span("query").end()
    assert drawn(exporter).count("├─ step") == 3


def test_a_span_whose_parent_is_elsewhere_stands_at_the_top(tracer, exporter):
    tracer.start_span("root")  # never ends, so it is not among the spans
    with tracer.start_as_current_span("unfinished", end_on_exit=False):
        tracer.start_span("child").end()
    assert drawn(exporter) == ["child"]
