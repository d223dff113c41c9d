"""Judges on the worker that ships: they see each item once, and what waits while Redis does not."""

from time import time_ns
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from sqlalchemy import text

from otel_dbevents.drafts import Mixed
from otel_dbevents.events import (
    Database,
    DatabaseType,
    Environment,
    Event,
    QueryExecuted,
    RepeatedQueryDetected,
    SlowQueryDetected,
    Statement,
)
from otel_dbevents.judges import Judges
from otel_dbevents.pipeline.judging import Judging
from otel_dbevents.sources.drafts import CheckedInDraft, QueryDraft
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.test_shipping import Application

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

DATABASE = Database(Environment.LOCAL, DatabaseType.SQLITE, "shop.db")
STATEMENT = Statement("SELECT 1", "SELECT")
ABOVE = set_span_in_context(
    NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))
)


def runs(number: int) -> list[Any]:
    """Return what is brought of so many runs of a statement: drafts, and every fifth an event."""
    now = time_ns()
    noted = [QueryDraft(ABOVE, DATABASE, STATEMENT, now, 5, reading_ns=2) for _ in range(number)]
    found: list[Any] = [(*each.make(), each.context) if at % 5 == 4 else each
                        for at, each in enumerate(noted)]  # fmt: skip
    return [*found, CheckedInDraft(ABOVE, DATABASE, now, 1)]


def judging(waiting: list[Any]) -> tuple[Judging, Judges, list[Event]]:
    told: list[Event] = []
    judges = Judges(lambda event, _: told.append(event), repeated_queries=10)
    return Judging(judges, lambda: Mixed(waiting)), judges, told


def test_what_was_judged_while_it_waited_is_not_judged_again_when_it_is_brought() -> None:
    waiting, all_runs = list[Any](), runs(23)
    court, judges, told = judging(waiting)
    court.take(Mixed(all_runs[:3]))
    for more in (all_runs[3:9], all_runs[9:12], []):
        waiting += more
        court.look_ahead()
    court.take(Mixed(all_runs[3:8]))
    del waiting[:5]
    waiting += all_runs[12:15]
    court.look_ahead()
    court.take(Mixed(all_runs[8:]))
    judges.settle()
    [burst] = told
    assert isinstance(burst, RepeatedQueryDetected)
    assert (burst.count, burst.duration_ns) == (23, 23 * 7)


def test_what_gave_way_while_it_waited_is_not_kept() -> None:
    waiting = runs(9)
    court, _, _ = judging(waiting)
    court.look_ahead()
    court.take(Mixed(waiting[2:5]))
    assert len(court._seen) == len(waiting) - 3, "the others may come yet"
    court.take(Mixed([*waiting[5:], *runs(2)]))
    assert not court._seen


@pytest.mark.swallows
def test_where_judging_fails_it_is_counted_and_all_else_goes_on() -> None:
    def refuse(_: Event, __: Any) -> None:
        raise RuntimeError

    judges = Judges(refuse, slow_query_ns=1)
    court = Judging(judges, dict[Any, Any]().popitem)  # type: ignore[arg-type]  # it raises
    slow = QueryExecuted(DATABASE, None, 1, 5, STATEMENT)
    court.take(Mixed([(slow, None)]))
    assert court.errors == 1
    court.look_ahead()
    assert court.errors == 2


@pytest.mark.swallows
def test_while_redis_is_away_queries_are_judged_all_the_same() -> None:
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    shop = Application(bus_url=url, environment="production", slow_query_ms=50)
    told: list[Event] = []
    shop.pipeline.bus.handle(told.append, SlowQueryDetected, RepeatedQueryDetected)
    shop.query()
    sender = shop.pipeline.sender
    assert sender is not None
    wait_until(lambda: bool(sender.trouble), 20)
    with shop.pipeline.tracer_provider.get_tracer("app").start_as_current_span("request"):
        shop.query(12)
        shop.engine.connect().close()
    slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000000) "
    with shop.engine.connect() as connection:
        connection.execute(text(slow + "SELECT count(*) FROM n")).all()
    wait_until(lambda: {type(each) for each in told} == {SlowQueryDetected, RepeatedQueryDetected})
    [burst] = [each for each in told if isinstance(each, RepeatedQueryDetected)]
    assert burst.count == 12
    assert sender.shipped == 0
    assert shop.pipeline.close(0.2) is False
    shop.engine.dispose()
