"""A burst of fast queries is a few spans that say all that the many would have said."""

import os
import signal
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage import set_baggage
from opentelemetry.context import Context, set_value
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import get_current_span, set_span_in_context

from otel_dbevents.bridge import fold as one_fold
from otel_dbevents.bridge.spans import parent_context
from otel_dbevents.events import CodeLocation, Statement, TraceParent
from tests.any_event import unhurried
from tests.bridge.support import END, MS, PARENT, SELECT, Told, executed, failed, repeated, slow

ITEMS = Statement("SELECT * FROM items WHERE cart = ?", "SELECT items")
SECOND = 1_000 * MS
COUNT, TOTAL = "dbevents.folded.count", "dbevents.folded.duration"
SHORTEST, LONGEST = "dbevents.folded.shortest", "dbevents.folded.longest"


@pytest.fixture(autouse=True)
def never_quiet(monkeypatch):
    """However slow this machine is: only what a test does tells that a burst is over."""
    monkeypatch.setattr(one_fold, "_QUIET_SECONDS", 3600.0)


def burst(number, first=0, **changed):
    """So many queries of 2 ms, one each 3 ms."""
    given = {"duration_ns": 2 * MS, "returned_rows": 4, **changed}
    return [executed(end_time_ns=END + 3 * n * MS, **given) for n in range(first, first + number)]


def elsewhere(number, flags=1):
    return TraceParent(PARENT.trace_id, number.to_bytes(8, "big"), flags)


def counts(told):
    """How many queries each span stands for, in the order they were told."""
    return [(span.attributes or {}).get(COUNT, 1) for span in told.spans]


def ids(told):
    return [span.context.span_id.to_bytes(8, "big") for span in told.spans]


def settled(*events, context=None, fold_after=2, **options):
    told = Told(fold_after=fold_after, **options).tell(*events, context=context)
    assert told.bridge.settle()
    assert not told.bridge.lost
    return told


def test_after_its_first_queries_a_burst_is_one_span():
    events = burst(25)
    told = settled(*events, fold_after=10)
    assert counts(told) == [1] * 10 + [15]
    assert ids(told) == [event.id[8:] for event in events[:11]]
    span = told.spans[-1]
    assert span.name == "SELECT customers"
    assert span.parent.span_id == int.from_bytes(PARENT.span_id, "big")
    assert (span.start_time, span.end_time) == (END + 28 * MS, END + 72 * MS)


def test_the_span_says_how_many_and_how_long():
    fast, (longer,) = burst(4), burst(1, first=4, duration_ns=11 * MS)
    told = settled(*fast, longer, fold_after=1)
    one, many = told.spans
    rows = {"db.response.returned_rows": 16}
    said = {COUNT: 4, TOTAL: 0.017, SHORTEST: 0.002, LONGEST: 0.011}
    assert dict(many.attributes) == {**one.attributes, **rows, **said}


def test_rows_and_reading_are_added_up():
    (_, span) = settled(*burst(4, reading_ns=MS), fold_after=1).spans
    assert span.attributes["db.response.returned_rows"] == 12
    assert span.attributes["dbevents.fetch.duration"] == 0.003


def test_rows_that_one_query_does_not_know_are_not_told():
    told = settled(*burst(3), *burst(1, first=3, returned_rows=-1), fold_after=1)
    assert "db.response.returned_rows" in told.spans[0].attributes
    assert "db.response.returned_rows" not in told.spans[1].attributes


def test_metrics_count_every_query():
    told = settled(*burst(25))
    assert len(told.spans) == 3
    metrics = told.metrics
    (duration,) = metrics["db.client.operation.duration"].data.data_points
    (rows,) = metrics["db.client.response.returned_rows"].data.data_points
    assert (duration.count, rows.count, rows.sum) == (25, 25, 100)
    assert duration.sum == pytest.approx(0.05)


def test_exemplars_and_records_point_to_spans_that_there_are():
    told = settled(*burst(8), repeated(), fold_after=2)
    there = {span.context.span_id for span in told.spans}
    there.add(int.from_bytes(PARENT.span_id, "big"))
    exemplars = told.point("db.client.operation.duration").exemplars
    assert exemplars
    assert {each.span_id for each in exemplars} <= there
    assert {record.span_id for record in told.records} <= there


def test_two_statements_in_turn_fold_each_by_itself():
    pairs = zip(burst(10), burst(10, statement=ITEMS), strict=True)
    told = settled(*(event for pair in pairs for event in pair))
    assert counts(told) == [1, 1, 1, 1, 8, 8]
    names = [(span.name, span.attributes[COUNT]) for span in told.spans[-2:]]
    assert names == [("SELECT customers", 8), ("SELECT items", 8)]


def test_what_failed_or_was_slow_stays_and_parts_what_ran_before_from_what_ran_after():
    event = burst(12)
    event[4] = failed(end_time_ns=event[4].end_time_ns, duration_ns=2 * MS)
    event[8] = executed(end_time_ns=event[8].end_time_ns, duration_ns=2 * MS, reading_ns=98 * MS)
    told = settled(*event, slow(event[8]), slow_query_ns=100 * MS)
    assert counts(told) == [1, 1, 2, 1, 3, 1, 3]
    assert ids(told)[3] == event[4].id[8:]
    assert ids(told)[5] == event[8].id[8:]
    starts = [span.start_time for span in told.spans]
    assert starts == sorted(starts)
    (slow_record,) = [r for r in told.records if r.event_name == "database.query.slow"]
    assert slow_record.span_id == int.from_bytes(event[8].id[8:], "big")


@pytest.mark.parametrize(
    "changed",
    [{"batch_size": 3}, {"first_row_ns": 1}, {"propagated": True}, {"duration_ns": 500 * MS}],
    ids=["a batch", "a stream", "known to others by its id", "half a second"],
)
def test_what_says_more_than_a_fold_could_stays(changed):
    assert counts(settled(*burst(9, **changed), slow_query_ns=0)) == [1] * 9


def test_a_fold_of_one_query_is_that_querys_span():
    events = burst(3)
    folded, alone = settled(*events), Told().tell(*events)
    assert [span.to_json() for span in folded.spans] == [span.to_json() for span in alone.spans]


def test_what_begins_a_second_later_is_another_burst():
    later = [executed(end_time_ns=END + SECOND + 12 * MS + n, duration_ns=0) for n in range(4)]
    told = settled(*burst(5), *later)
    assert counts(told) == [1, 1, 3, 1, 1, 2]


def test_a_long_burst_is_told_every_ten_seconds():
    steady = (executed(end_time_ns=END + n * 900 * MS, duration_ns=10 * MS) for n in range(27))
    told = Told(fold_after=1).tell(*steady)
    assert counts(told) == [1, 13, 13]


def test_results_read_in_another_order_than_they_ran_are_told_in_full():
    events = burst(6)
    (*_, span) = settled(*events[:2], *reversed(events[2:])).spans
    assert span.attributes[COUNT] == 4
    assert (span.start_time, span.end_time) == (END + 4 * MS, END + 15 * MS)


def test_the_place_in_the_code_is_told():
    place = CodeLocation("shop/orders.py", 34, "shop.orders.items")
    (*_, span) = settled(*burst(4), *burst(2, first=4, called_from=place)).spans
    assert span.attributes[COUNT] == 4
    assert span.attributes["code.line.number"] == 34


@pytest.mark.parametrize("parent", [None, elsewhere(7, flags=0)], ids=["none", "unsampled"])
def test_without_a_sampled_span_above_nothing_is_kept(parent):
    told = Told(fold_after=2).tell(*burst(20, parent=parent))
    assert len(told.spans) == (20 if parent is None else 0)
    assert not len(told.bridge._folding._bursts)
    assert told.point("db.client.operation.duration").count == 20


def test_each_span_above_has_its_own_burst():
    told = settled(*(e for n in range(1, 4) for e in burst(6, parent=elsewhere(n))))
    assert Counter(counts(told)) == {1: 6, 4: 3}


@pytest.mark.parametrize("step", [1, 4])
def test_queries_whose_context_or_hooks_say_something_else_are_not_folded_together(step):
    def tenant(number):
        return set_baggage("tenant", f"t{number // step}", parent_context(executed(), None))

    by_context, by_hook = Told(fold_after=1), Told(fold_after=1)
    for number, event in enumerate(burst(9)):
        by_context.tell(event, context=tenant(number))
        by_hook.tell(*burst(1, first=number, attributes={"tenant": number // step}))
    for told in (by_context, by_hook):
        told.bridge.settle()
        assert counts(told) == ([1] * 9 if step == 1 else [1, 3, 4, 1])


class Odd:
    """An object of the application's that does not let itself be compared."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


def test_what_the_application_keeps_in_a_context_is_not_asked_whether_it_is_equal():
    above, one = parent_context(executed(), None), Odd()
    for kept, expected in ((lambda: one, [1, 4]), (Odd, [1] * 5)):
        told = Told(fold_after=1)
        for event in burst(5):
            told.tell(event, context=set_value("odd", kept(), above))
        told.bridge.settle()
        assert counts(told) == expected
        assert not told.bridge.lost


def test_what_min_duration_drops_is_in_no_fold():
    fast = burst(20, duration_ns=MS)
    told = settled(*fast, *burst(5, first=20), *fast, min_duration_ns=2 * MS)
    assert counts(told) == [1, 1, 3]
    assert told.point("db.client.operation.duration").count == 45


def test_a_failed_query_ends_a_fold_however_short_it_was():
    events = [*burst(5), failed(end_time_ns=END + 15 * MS, duration_ns=1), *burst(3, first=6)]
    assert counts(settled(*events, min_duration_ns=2 * MS)) == [1, 1, 3, 1, 3]


RUN = st.fixed_dictionaries(
    {
        "statement": st.sampled_from((SELECT, ITEMS)),
        "parent": st.sampled_from((PARENT, elsewhere(3), elsewhere(4, flags=0), None)),
        "gap": st.sampled_from((0, MS, 2 * SECOND)),
        "duration_ns": st.sampled_from((0, 3 * MS, 600 * MS)),
        "kind": st.sampled_from(("executed", "failed", "settled", "closed to folding")),
    }
)


@unhurried
@given(st.lists(RUN, max_size=60), st.integers(1, 4))
def test_whatever_runs_each_query_is_in_one_span_and_nothing_slow_or_failed_in_a_fold(runs, after):
    told, now, sent = Told(fold_after=after), END, []
    for run in runs:
        said = {name: run[name] for name in ("statement", "parent", "duration_ns")}
        now += run["gap"] + run["duration_ns"]
        make = failed if run["kind"] == "failed" else executed
        more = {"propagated": True} if run["kind"] == "closed to folding" else {}
        sent.append(make(end_time_ns=now, **said, **more))
        told.tell(sent[-1])
        if run["kind"] == "settled":
            told.bridge.settle()
    told.bridge.close()

    def told_of(event):
        above = get_current_span(parent_context(event, None)).get_span_context()
        spans = [
            span
            for span in told.spans
            if span.parent == above and span.name == event.statement.query_summary
        ]
        wall = [(span.end_time - span.start_time) / 1e9 for span in spans]
        total = [span.attributes.get(TOTAL, took) for span, took in zip(spans, wall, strict=True)]
        return sum(span.attributes.get(COUNT, 1) for span in spans), pytest.approx(sum(total))

    sampled = [event for event in sent if event.parent is None or event.parent.trace_flags]
    for event in sampled:
        if event.parent is not None:
            same = [e for e in sent if (e.parent, e.statement) == (event.parent, event.statement)]
            assert told_of(event) == (len(same), sum(e.duration_ns for e in same) / 1e9)
    alone = [e for e in sampled if e.duration_ns >= 500 * MS or e.event_type == "QueryFailed"]
    own = {span.context.span_id for span in told.spans if COUNT not in span.attributes}
    assert {int.from_bytes(event.id[8:], "big") for event in alone} <= own
    assert len({span.context.span_id for span in told.spans}) == len(told.spans)
    assert not told.bridge.lost


# When it is told


def test_a_burst_is_told_with_the_batch_when_its_span_has_ended():
    told = Told(fold_after=2)
    with told.tracers.get_tracer("app").start_as_current_span("request") as request:
        context = set_span_in_context(request, Context())
        above = request.get_span_context()
        parent = TraceParent(above.trace_id.to_bytes(16, "big"), above.span_id.to_bytes(8, "big"))
        told.tell(*burst(6, parent=parent), context=context)
        assert counts(told) == [1, 1]
    told.tell(*burst(1, first=6, parent=parent), context=context)
    assert counts(told) == [1, 1, 1, 5]


def test_a_burst_that_is_quiet_is_told_with_whatever_comes_next(monkeypatch):
    told = Told(fold_after=2).tell(*burst(6))
    monkeypatch.setattr(one_fold, "_QUIET_SECONDS", 0.0)
    assert counts(told) == [1, 1]
    told.tell(executed(parent=elsewhere(5)))
    assert counts(told) == [1, 1, 1, 4]


def test_settled_in_its_midst_a_burst_is_folded_on():
    told = Told(fold_after=2).tell(*burst(6))
    assert told.bridge.settle()
    assert told.bridge.settle()
    told.tell(*burst(3, first=6)).bridge.settle()
    assert counts(told) == [1, 1, 4, 3]


def test_closing_tells_what_is_held_back():
    told = Told(fold_after=2).tell(*burst(6))
    told.bridge.close()
    told.bridge.close()
    assert counts(told) == [1, 1, 4]


def test_the_number_of_open_bursts_is_bounded_and_the_oldest_is_told_first():
    told = Told(fold_after=1)
    for number in range(1, 1001):
        told.tell(*burst(3, parent=elsewhere(number)))
    folded = [span.parent.span_id for span in told.spans if COUNT in span.attributes]
    assert 0 < len(folded) < 1000
    assert folded == list(range(1, len(folded) + 1))
    assert len(told.bridge._folding._bursts) < 4500
    told.bridge.settle()
    assert sum(counts(told)) == 3 * 1000


# What goes wrong


class Raising(SpanProcessor):
    raises = True

    def on_start(self, span, parent_context=None):
        if self.raises:
            raise RuntimeError("no")


@pytest.mark.swallows
def test_a_processor_that_raises_costs_the_folded_queries_their_span_and_each_is_counted():
    told, raising = Told(fold_after=2), Raising()
    told.tell(*burst(6))
    told.tracers.add_span_processor(raising)
    assert told.bridge.settle()
    assert told.bridge.lost == {"span_error": 4}
    raising.raises = False
    told.tell(*burst(2, first=6)).bridge.settle()
    assert counts(told) == [1, 1, 2]
    assert told.point("db.client.operation.duration").count == 8


def test_a_processor_may_flush_while_a_fold_is_told():
    told = Told(fold_after=2)

    class Flushing(SpanProcessor):
        def on_end(self, span):
            told.bridge.settle()

    told.tracers.add_span_processor(Flushing())
    pairs = zip(burst(10), burst(10, statement=ITEMS), strict=True)
    told.tell(*(event for pair in pairs for event in pair))
    told.bridge.settle()
    assert sum(counts(told)) == 20
    assert not told.bridge.lost


def test_settling_waits_no_longer_than_it_may():
    told = Told(fold_after=2).tell(*burst(6))
    answers = []
    with told.bridge._folding.lock:
        other = threading.Thread(target=lambda: answers.append(told.bridge.settle(0.01)))
        other.start()
        other.join()
    assert answers == [False]
    assert told.bridge.settle(0.01)
    assert counts(told) == [1, 1, 4]


def test_threads_under_one_span_are_one_burst_and_none_is_counted_twice():
    told, threads, each = Told(fold_after=10), 8, 200
    start = threading.Barrier(threads)

    def run():
        start.wait()
        for _ in range(each):
            told.tell(executed(duration_ns=MS))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for _ in range(5):
        told.bridge.settle()
    for thread in running:
        thread.join()
    told.bridge.settle()
    assert sum(counts(told)) == threads * each
    total = sum(span.attributes.get(TOTAL, 0.001) for span in told.spans)
    assert total == pytest.approx(threads * each * 0.001)
    assert Counter(counts(told))[1] >= 10
    assert len(told.spans) < 30


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_a_forked_process_held_is_its_parents_to_tell():
    told = Told(fold_after=2).tell(*burst(6))
    with told.bridge._folding.lock:
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's coverage is not collected
            signal.alarm(60)
            told.exported.clear()
            told.tell(*burst(3, first=6)).bridge.settle()
            os._exit(0 if counts(told) == [1, 1, 1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    told.bridge.settle()
    assert counts(told) == [1, 1, 4]


def test_turned_off_each_query_has_its_span():
    told = Told(fold_after=0).tell(*burst(50))
    assert len(told.spans) == 50
    assert told.bridge.settle()


def test_without_spans_nothing_folds():
    told = Told(fold_after=2, spans=False).tell(*burst(50))
    assert told.bridge.settle()
    assert told.point("db.client.operation.duration").count == 50


def test_other_kinds_of_events_go_through():
    told = settled(*burst(6), executed(statement=SELECT, parent=None))
    assert counts(told) == [1, 1, 1, 4]
