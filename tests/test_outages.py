"""From the first failure until the database is back: who may say so, and since when it was away."""

import pytest

from otel_dbevents.events import (
    ConnectionInvalidated,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    Event,
    Failure,
)
from otel_dbevents.outages import Outages

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

DATABASE = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "shop", "localhost", 5432)
SECOND = 1_000_000_000
NO_ANSWER = {"synthetic": True, "error.type": "TimeoutError"}


def failed(at_ns: int) -> DatabaseConnectionFailed:
    return DatabaseConnectionFailed("local", "refused", end_time_ns=at_ns, database=DATABASE)


def established(at_ns: int) -> DatabaseConnectionEstablished:
    return DatabaseConnectionEstablished(
        "local", "postgresql", 1, end_time_ns=at_ns, database=DATABASE
    )


def lost(at_ns: int, *, disconnect: bool = True) -> ConnectionInvalidated:
    failure = Failure("57P01", "AdminShutdown", is_disconnect=disconnect)
    return ConnectionInvalidated(DATABASE, None, at_ns, False, failure)


def checked(
    at_ns: int,
    status: str = "healthy",
    details: dict[str, object] | None = None,
    database: Database | None = DATABASE,
    latency_ms: float = 0.0,
) -> DatabaseHealthCheckCompleted:
    return DatabaseHealthCheckCompleted(
        status, latency_ms, details, end_time_ns=at_ns, database=database
    )


def no_answer(at_ns: int, latency_ms: float = 0.0) -> DatabaseHealthCheckCompleted:
    return checked(at_ns, "unhealthy", NO_ANSWER, latency_ms=latency_ms)


def told(*events: Event) -> list[tuple[int, int]]:
    """Return the length of each outage that was told, and how many attempts it counted."""
    outages = Outages()
    heard = [outages.hear(event) for event in events]
    return [(each.duration_ns, each.failed_attempts) for each in heard if each is not None]


def test_a_check_that_goes_well_ends_an_outage_and_the_first_connection_does_not_end_it_again() -> (
    None
):
    assert told(failed(100), checked(500), established(600), checked(700)) == [(400, 1)]


def test_a_connection_that_goes_well_ends_an_outage_and_the_check_after_it_does_not() -> None:
    assert told(failed(100), established(500), checked(600)) == [(400, 1)]


def test_checks_without_an_answer_are_failed_attempts_and_begin_when_they_asked() -> None:
    events = no_answer(3 * SECOND, latency_ms=2_000), no_answer(4 * SECOND), checked(6 * SECOND)
    assert told(*events) == [(5 * SECOND, 2)]


def test_an_answer_that_came_late_is_an_answer() -> None:
    slow = checked(500, "unhealthy", {"synthetic": True})
    assert told(failed(100), slow) == [(400, 1)]
    assert told(slow, checked(900)) == []


def test_of_a_check_that_somebody_else_made_the_status_tells() -> None:
    assert told(checked(100, "unhealthy"), checked(500, "degraded")) == [(400, 1)]


def test_a_check_of_a_database_that_is_not_named_says_nothing() -> None:
    no_answer = checked(100, "unhealthy", NO_ANSWER, database=None)
    assert told(no_answer, checked(500, database=None)) == []
    assert told(failed(100), checked(500, database=None)) == []


def test_a_check_that_ended_before_the_last_failure_ends_nothing() -> None:
    assert told(failed(100), failed(300), checked(200), checked(400)) == [(300, 2)]


def test_an_attempt_that_hung_through_the_end_of_an_outage_begins_no_other() -> None:
    hung = no_answer(3 * SECOND, latency_ms=2_000)
    assert told(failed(100), established(2 * SECOND), hung, established(4 * SECOND)) == [
        (2 * SECOND - 100, 1)
    ]
    late = no_answer(5 * SECOND, latency_ms=1_000)
    assert told(failed(100), established(2 * SECOND), late, established(6 * SECOND)) == [
        (2 * SECOND - 100, 1),
        (2 * SECOND, 1),
    ]


def test_a_lost_connection_alone_is_no_outage() -> None:
    assert told(lost(100), established(200)) == []
    assert told(lost(100), checked(200)) == []


def test_an_outage_began_with_the_connection_that_was_lost_before_the_first_failed_attempt() -> (
    None
):
    assert told(lost(100), lost(150), failed(300), established(500)) == [(400, 1)]


@pytest.mark.parametrize(
    "before",
    [
        (lost(100), established(200)),
        (lost(100), checked(200)),
        (lost(100, disconnect=False),),
    ],
    ids=["connected since", "checked since", "not lost"],
)
def test_it_did_not_begin_with_one_that_says_nothing_about_now(before: tuple[Event, ...]) -> None:
    assert told(*before, failed(300), established(500)) == [(200, 1)]


def test_what_was_lost_long_before_is_another_story() -> None:
    late = 100 + 61 * SECOND
    assert told(lost(100), failed(late), established(late + 5)) == [(5, 1)]
