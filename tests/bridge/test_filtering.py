"""The application says which statements have a span; metrics, records and judgements stay."""

import logging

import pytest

from otel_dbevents.events import QueryExplained, QueryFailed, Statement
from tests.bridge.support import (
    DB,
    END,
    MS,
    PARENT,
    SELECT,
    Told,
    committed,
    executed,
    failed,
    slow,
    timed_out,
)

PING = Statement("SELECT ?", "SELECT")


def no_pings(event):
    return event.statement is not PING


def explained(query):
    return QueryExplained(DB, PARENT, END, MS, query.statement, query.id, "SCAN")


def test_a_statement_that_is_not_wanted_has_no_span_and_is_counted():
    told = Told(span_filter=no_pings).tell(executed(statement=PING), executed())
    assert told.span.name == "SELECT customers"
    counts = [point.count for point in told.points("db.client.operation.duration")]
    assert counts == [1, 1]


def test_only_queries_are_asked_about():
    asked = []

    def none(event):
        asked.append(type(event).__name__)
        return False

    told = Told(span_filter=none)
    told.tell(committed(), timed_out(), executed(), failed(), slow(executed()))
    assert asked == ["QueryExecuted", "QueryFailed"]
    assert [span.name for span in told.spans] == ["COMMIT shop", "CHECKOUT shop"]


def test_what_is_told_of_a_query_without_a_span_points_to_the_span_above():
    unwanted, wanted = executed(duration_ns=900 * MS), executed(duration_ns=900 * MS)
    denied = failed(duration_ns=900 * MS)
    told = Told(span_filter=lambda event: event is wanted)
    told.tell(unwanted, wanted, denied)
    told.tell(slow(unwanted), explained(unwanted), slow(wanted), explained(wanted), slow(denied))
    above, own = int.from_bytes(PARENT.span_id, "big"), told.span.context.span_id
    pointed = [(record.event_name, record.span_id) for record in told.records]
    assert pointed == [
        ("db.client.operation.exception", above),
        ("database.query.slow", above),
        ("database.query.explained", above),
        ("database.query.slow", own),
        ("database.query.explained", own),
        ("database.query.slow", above),
    ]
    exemplars = {
        each.span_id
        for point in told.points("db.client.operation.duration")
        for each in point.exemplars
    }
    assert exemplars <= {above, own}


@pytest.mark.parametrize("said", [RuntimeError, None, "yes"])
@pytest.mark.swallows
def test_where_the_filter_raises_or_says_neither_yes_nor_no_the_span_is_made(said, caplog):
    def unsure(event):
        if said is RuntimeError:
            raise RuntimeError("the filter's own fault")
        return said

    told = Told(span_filter=unsure)
    with caplog.at_level(logging.WARNING):
        told.tell(executed(), failed())
    assert len(told.spans) == 2
    assert told.bridge.filter_errors == 2
    assert not told.bridge.lost
    assert caplog.text.count("span_filter failed on a QueryExecuted, which has a span") == 1


def test_what_is_not_wanted_is_in_no_fold_and_does_not_count_for_one():
    events = [executed(end_time_ns=END + n, returned_rows=n % 2) for n in range(20)]
    told = Told(fold_after=2, span_filter=lambda event: event.returned_rows == 0).tell(*events)
    told.bridge.settle()
    assert [(span.attributes or {}).get("dbevents.folded.count", 1) for span in told.spans] == [
        1,
        1,
        8,
    ]


def test_a_failed_query_may_be_unwanted_too():
    told = Told(span_filter=lambda event: not isinstance(event, QueryFailed))
    told.tell(failed(), executed(statement=SELECT))
    assert told.span.status.is_unset
    assert [record.event_name for record in told.records] == ["db.client.operation.exception"]


def test_without_spans_nobody_is_asked():
    asked = []
    Told(span_filter=asked.append, spans=False).tell(executed())
    assert not asked
