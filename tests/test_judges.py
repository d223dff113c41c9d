"""What the facts amount to."""

import os
import signal
import weakref
from time import time_ns
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents.drafts import Alike, Mixed
from otel_dbevents.events import (
    CodeLocation,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseRecovered,
    DatabaseType,
    Environment,
    Event,
    Failure,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
    SlowQueryDetected,
    Statement,
    TraceParent,
)
from otel_dbevents.judges import Judges
from otel_dbevents.sources.drafts import QueryDraft

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

DATABASE = Database(Environment.LOCAL, DatabaseType.SQLITE, "shop.db")
OTHER = Database(Environment.LOCAL, DatabaseType.SQLITE, "other.db")
PARENT = TraceParent(bytes(15) + b"1", bytes(7) + b"1")
STATEMENT = Statement("SELECT * FROM items WHERE id = ?", "SELECT items")
SECOND = 1_000_000_000
PLACE = CodeLocation("shop/orders.py", 12, "shop.orders.latest")
OTHER_PLACE = CodeLocation("shop/orders.py", 34, "shop.orders.items")


class Court:
    """Judges with what they published."""

    def __init__(self, **settings: int) -> None:
        self.told: list[Event] = []
        self.contexts: list[Any] = []
        self.judges = Judges(self._publish, **settings)

    def _publish(self, event: Event, context: Any) -> None:
        self.told.append(event)
        self.contexts.append(context)

    def hear(self, *facts: Event) -> list[Event]:
        self.judges.consume([(fact, f"context {number}") for number, fact in enumerate(facts)])
        return self.told


def query(
    at_ns: int = 0, duration_ns: int = 5, parent: TraceParent | None = PARENT, **more: Any
) -> QueryExecuted:
    return QueryExecuted(DATABASE, parent, at_ns, duration_ns, STATEMENT, **more)


def test_a_query_at_the_threshold_is_slow() -> None:
    court = Court(slow_query_ns=100)
    slow = query(duration_ns=100)
    (told,) = court.hear(query(duration_ns=99), slow)
    assert isinstance(told, SlowQueryDetected)
    assert (told.duration_ns, told.threshold_ns) == (100, 100)
    assert told.query_id == slow.id
    assert told.statement is STATEMENT
    assert court.contexts == ["context 1"]


def test_a_result_that_took_long_to_read_is_slow_too() -> None:
    court = Court(slow_query_ns=100)
    assert court.hear(query(duration_ns=40, reading_ns=59)) == []
    (told,) = court.hear(query(duration_ns=40, reading_ns=60, called_from=PLACE))
    assert isinstance(told, SlowQueryDetected)
    assert (told.duration_ns, told.called_from) == (100, PLACE)


def test_a_slow_query_that_failed_is_slow_too() -> None:
    failed = QueryFailed(DATABASE, PARENT, 0, 100, STATEMENT, Failure("57014", "QueryCanceled"))
    (told,) = Court(slow_query_ns=100).hear(failed)
    assert isinstance(told, SlowQueryDetected)


def test_a_burst_is_told_once_when_it_is_quiet_for_a_second() -> None:
    court = Court(repeated_queries=3)
    assert court.hear(*(query(at_ns=n) for n in range(4))) == []
    elsewhere = TraceParent(bytes(15) + b"2", bytes(7) + b"2")
    (told,) = court.hear(query(at_ns=SECOND + 3, parent=elsewhere))
    assert isinstance(told, RepeatedQueryDetected)
    assert (told.count, told.duration_ns, told.parent) == (4, 20, PARENT)
    court.judges.settle()
    assert len(court.told) == 1


def test_a_burst_says_where_it_came_from_and_what_would_mend_it() -> None:
    court = Court(repeated_queries=3)
    place, mend = {"called_from": PLACE}, {"called_from": OTHER_PLACE, "advice": "selectinload()"}
    slow = {"called_from": PLACE, "reading_ns": 7}
    court.hear(query(), query(**place), query(**mend), query(**slow))
    court.judges.settle()
    (told,) = court.told
    assert isinstance(told, RepeatedQueryDetected)
    assert (told.called_from, told.advice) == (OTHER_PLACE, "selectinload()")
    assert (told.count, told.duration_ns) == (4, 27)


def test_a_burst_that_is_open_is_told_by_settling() -> None:
    court = Court(repeated_queries=3)
    court.hear(query(), query(), query())
    court.judges.settle()
    court.judges.settle()
    assert len(court.told) == 1


def test_a_burst_is_told_when_nothing_comes_for_a_second() -> None:
    court, now = Court(repeated_queries=2), time_ns()
    court.hear(query(at_ns=now - 2 * SECOND), query(at_ns=now - 2 * SECOND))
    elsewhere = TraceParent(bytes(15) + b"2", bytes(7) + b"2")
    court.hear(*(query(at_ns=now + 3600 * SECOND, parent=elsewhere) for _ in range(2)))
    assert [each.parent for each in court.told] == [PARENT]
    court.judges.settle_quiet()
    assert [each.parent for each in court.told] == [PARENT]
    court.judges.settle()
    court.hear(query(at_ns=now - 2 * SECOND), query(at_ns=now - 2 * SECOND))
    court.judges.settle_quiet()
    court.judges.settle_quiet()
    assert [each.parent for each in court.told] == [PARENT, elsewhere, PARENT]


def test_fewer_runs_than_the_threshold_are_no_burst() -> None:
    court = Court(repeated_queries=3)
    court.hear(query(), query())
    court.judges.settle()
    assert court.told == []


def test_what_runs_under_no_span_or_under_different_spans_is_no_burst() -> None:
    court = Court(repeated_queries=2)
    court.hear(query(parent=None), query(parent=None))
    court.hear(*(query(parent=TraceParent(bytes(16), bytes([n] * 8))) for n in range(5)))
    court.judges.settle()
    assert court.told == []


def test_the_number_of_open_bursts_is_bounded_and_the_oldest_is_told_first() -> None:
    court = Court(repeated_queries=2)
    court.hear(query(), query())
    many = [
        query(parent=TraceParent(bytes(16), number.to_bytes(8, "big"))) for number in range(5000)
    ]
    for number in range(0, len(many), 500):
        court.hear(*many[number : number + 500])
    assert [type(told) for told in court.told] == [RepeatedQueryDetected]
    assert 2000 <= len(court.judges._bursts) <= 4500
    court.hear(*many[-2000:], query(at_ns=SECOND - 1))
    court.judges.settle()
    assert len(court.told) == 2001


def test_a_burst_that_goes_on_is_one_however_many_others_come_between() -> None:
    court = Court(repeated_queries=2)
    for number in range(3000):
        other = TraceParent(bytes(16), (number + 1).to_bytes(8, "big"))
        court.hear(query(parent=other), query() if number % 100 == 0 else query(parent=None))
    court.judges.settle()
    assert [each.count for each in court.told if isinstance(each, RepeatedQueryDetected)] == [30]


def test_a_burst_that_lasts_for_many_seconds_is_one() -> None:
    court = Court(repeated_queries=2)
    for number in range(60):
        court.hear(query(at_ns=number * SECOND // 2))
    assert court.told == []
    court.judges.settle()
    assert [each.count for each in court.told if isinstance(each, RepeatedQueryDetected)] == [60]


def test_a_clock_that_is_set_back_keeps_no_burst_for_ever() -> None:
    court = Court(repeated_queries=2)
    court.hear(query(at_ns=3600 * SECOND), query(at_ns=3600 * SECOND))
    for number in range(1, 4):
        court.hear(query(at_ns=number * SECOND, parent=TraceParent(bytes(16), bytes([number] * 8))))
    assert [each.count for each in court.told if isinstance(each, RepeatedQueryDetected)] == [2]


def test_with_a_threshold_of_one_each_run_alone_is_told() -> None:
    court = Court(repeated_queries=1)
    court.hear(query(), query(parent=TraceParent(bytes(16), bytes([2] * 8))))
    court.judges.settle()
    assert [each.count for each in court.told if isinstance(each, RepeatedQueryDetected)] == [1, 1]


@pytest.mark.parametrize("settings", [{"slow_query_ns": 0, "repeated_queries": 0}])
def test_both_can_be_turned_off(settings: dict[str, int]) -> None:
    court = Court(**settings)
    court.hear(*(query(duration_ns=SECOND * 60) for _ in range(50)))
    court.judges.settle()
    assert court.told == []


def test_a_database_that_gives_a_connection_again_has_recovered() -> None:
    court = Court()
    failed = [
        DatabaseConnectionFailed(
            "local", "refused", end_time_ns=at, duration_ns=10, database=DATABASE
        )
        for at in (100, 200)
    ]
    up = DatabaseConnectionEstablished("local", "sqlite", 1, end_time_ns=500, database=DATABASE)
    elsewhere = DatabaseConnectionEstablished("local", "sqlite", 1, database=OTHER)
    (told,) = court.hear(*failed, elsewhere, up, up)
    assert isinstance(told, DatabaseRecovered)
    assert told.failed_attempts == 2
    assert told.duration_ns == 500 - 90
    assert told.database is DATABASE


def test_one_statement_on_two_databases_is_two_bursts() -> None:
    court = Court(repeated_queries=3)
    mixed = (QueryExecuted(base, PARENT, 0, 5, STATEMENT) for base in (DATABASE, OTHER) * 3)
    court.hear(*mixed)
    court.judges.settle()
    assert [(each.count, each.database) for each in court.told] == [(3, DATABASE), (3, OTHER)]


def test_a_run_that_begins_a_second_later_begins_another_burst_though_nothing_ran_between() -> None:
    court = Court(repeated_queries=2)
    court.hear(query(at_ns=0), query(at_ns=10), query(at_ns=SECOND + 10 + 5))
    (told,) = court.told
    assert told.count == 2
    court.judges.settle()
    assert len(court.told) == 1


def test_runs_that_take_longer_than_a_second_are_one_burst() -> None:
    court = Court(repeated_queries=3)
    court.hear(*(query(at_ns=n * 3 * SECOND, duration_ns=3 * SECOND) for n in range(1, 4)))
    court.judges.settle()
    assert [each.count for each in court.told if isinstance(each, RepeatedQueryDetected)] == [3]


def failed(at_ns: int, database: Database = DATABASE) -> DatabaseConnectionFailed:
    return DatabaseConnectionFailed("local", "refused", end_time_ns=at_ns, database=database)


def established(at_ns: int, database: Database = DATABASE) -> DatabaseConnectionEstablished:
    return DatabaseConnectionEstablished("local", "sqlite", 1, end_time_ns=at_ns, database=database)


def test_a_connection_older_than_the_last_failure_is_no_recovery() -> None:
    court = Court()
    assert court.hear(failed(100), failed(300), established(200)) == []
    (told,) = court.hear(established(400))
    assert (told.duration_ns, told.failed_attempts) == (300, 2)


def test_the_number_of_open_outages_is_bounded_and_the_oldest_is_forgotten() -> None:
    court = Court()
    many = [Database(Environment.LOCAL, DatabaseType.SQLITE, f"{n}.db") for n in range(1001)]
    court.hear(*(failed(100, database) for database in many))
    assert court.hear(established(200, many[0])) == []
    assert len(court.hear(established(200, many[1]))) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_anew_even_if_a_thread_was_judging() -> None:
    court = Court(repeated_queries=2)
    court.hear(query(), query(), failed(100))
    with court.judges._lock:
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's coverage is not collected
            signal.alarm(60)
            court.judges.settle()
            court.hear(established(200))
            os._exit(len(court.told))
    assert os.waitpid(child, 0)[1] == 0
    court.judges.settle()
    assert len(court.told) == 1


@pytest.mark.parametrize("mixed", [False, True])
def test_what_was_only_noted_of_queries_is_judged_as_their_events_are(mixed: bool) -> None:
    span = NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))
    above, same, beside = (set_span_in_context(span), set_span_in_context(span), Context())
    noted = [
        QueryDraft(context, DATABASE, STATEMENT, number, 5, reading_ns=2)
        for number, context in enumerate([above] * 6 + [beside] + [same] * 5)
    ]
    events = [(each.make()[0], each.context) for each in noted]
    court, same_court = Court(repeated_queries=10), Court(repeated_queries=10)
    court.judges.take(Mixed([*noted[:3], *events[3:5], *noted[5:]]) if mixed else Alike(noted))
    same_court.judges.consume(events)
    for each in (court, same_court):
        each.judges.settle()
    [told], [expected] = court.told, same_court.told
    assert isinstance(told, RepeatedQueryDetected)
    assert told.count == 11
    assert replace(told, id=expected.id) == expected
    assert court.contexts == same_court.contexts == [same]


def test_judges_keep_no_context_of_what_was_only_noted() -> None:
    class Kept(dict[str, Any]):
        pass

    court, context = Court(), Kept()
    gone = weakref.ref(context)
    court.judges.take(Alike([QueryDraft(context, DATABASE, STATEMENT, 1, 5)]))
    del context
    assert gone() is None
