"""Recovery as it hears of things: who is asked, when, and what is mended, with a clock of ours."""

import logging
import threading
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from otel_dbevents.events import (
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionInvalidated,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    DatabaseType,
    Environment,
    Event,
    Failure,
    QueryExecuted,
    QueryFailed,
    TransactionCommitted,
    TransactionReleased,
)
from otel_dbevents.health.circuit import Circuit, State
from otel_dbevents.health.recovery import Recovery
from otel_dbevents.judges import Judges
from tests.services.process import wait_until

DATABASE = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "shop", "localhost", 5432, "a")
OTHER = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "stock", "localhost", 5432, "b")
NAME = DATABASE.aggregate_id
EPOCH_S = 1_000_000.0
"""What the wall clock shows when ours shows 0."""


class Ward(Recovery):
    """A recovery whose worker is the test, with the databases that it asks."""

    def __init__(self, tries: int = 3) -> None:
        self.now = 0.0
        self.down: set[Database] = set()
        self.gone: set[Database] = set()
        self.asked: list[Database] = []
        self.retired: list[tuple[Database, float]] = []
        self.told: list[Event] = []
        self.order: list[str] = []
        self.meanwhile: list[Event] = []
        """What happens in the application while the database is asked."""
        self.judges = Judges(lambda event, _: self.told.append(event))
        super().__init__(
            self.ask,
            self.retire,
            self.publish,
            first_s=1,
            most_s=4,
            tries=tries,
            clock=lambda: self.now,
            make=partial(Circuit, random=lambda: 1.0),
        )

    def _start(self) -> None:
        """Start nothing: the test calls `work`."""

    def at(self) -> int:
        return int((EPOCH_S + self.now) * 1e9)

    def ask(self, database: Database) -> DatabaseHealthCheckCompleted | None:
        self.asked.append(database)
        if database in self.gone:
            return None
        is_down = database in self.down
        if self.meanwhile:
            self.hear(*self.meanwhile)
            self.meanwhile.clear()
        details = {"synthetic": True} | ({"error.type": "TimeoutError"} if is_down else {})
        check = DatabaseHealthCheckCompleted(
            "unhealthy" if is_down else "healthy",
            1,
            details,
            end_time_ns=self.at(),
            database=database,
        )
        self.pass_on(check)
        return check

    def retire(self, database: Database, before_s: float) -> None:
        self.retired.append((database, before_s))
        self.order.append("retired")

    def publish(self, event: Event, _context: Any) -> None:
        self.order.append("published")
        self.hear(event)
        self.told.append(event)

    def hear(self, *events: Event) -> None:
        """Bring events as the bus does, to the judges too."""
        batch = [(event, None) for event in events]
        self.consume(batch)
        self.judges.consume(batch)

    def fail(self, database: Database = DATABASE, took_s: float = 0) -> None:
        self.hear(self.failure(database, took_s))

    def failure(
        self, database: Database = DATABASE, took_s: float = 0, code: str = "", why: str = "refused"
    ) -> DatabaseConnectionFailed:
        failure = Failure(code or "OperationalError", "OperationalError", status_code=code)
        return DatabaseConnectionFailed(
            "local",
            f"OperationalError: {why}",
            end_time_ns=self.at(),
            duration_ns=int(took_s * 1e9),
            failure=failure,
            database=database,
        )

    def succeed(self, database: Database = DATABASE) -> None:
        self.hear(self.success(database))

    def success(self, database: Database = DATABASE) -> DatabaseConnectionEstablished:
        return DatabaseConnectionEstablished(
            "local", "postgresql", 5, end_time_ns=self.at(), database=database
        )

    def loss(self, *, is_disconnect: bool = True) -> ConnectionInvalidated:
        failure = Failure("57P01", "AdminShutdown", is_disconnect=is_disconnect)
        return ConnectionInvalidated(DATABASE, None, self.at(), False, failure)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the worker do what comes in it."""
        end = self.now + seconds
        while (next_s := self._next_s()) is not None and next_s <= end:
            self.now = max(self.now, next_s)
            self.work()
        self.now = end
        self.work()

    @property
    def recovered(self) -> list[DatabaseRecovered]:
        return [event for event in self.told if isinstance(event, DatabaseRecovered)]

    @property
    def checks(self) -> list[DatabaseHealthCheckCompleted]:
        return [each for each in self.told if isinstance(each, DatabaseHealthCheckCompleted)]


def test_nobody_is_asked_who_did_not_fail() -> None:
    ward = Ward()
    ward.succeed()
    ward.hear(ward.loss(is_disconnect=False))
    ward.pass_time(1_000)
    assert ward.asked == []
    assert ward.states == {}


@pytest.mark.parametrize("sign", ["failed", "lost", "unanswered check"])
def test_each_sign_that_it_is_away_has_it_asked_until_it_answers(sign: str) -> None:
    ward = Ward(tries=10)
    ward.down.add(DATABASE)
    check = DatabaseHealthCheckCompleted(
        "unhealthy", 1, {"error.type": "TimeoutError"}, end_time_ns=ward.at(), database=DATABASE
    )
    signs: dict[str, Event] = {
        "failed": ward.failure(),
        "lost": ward.loss(),
        "unanswered check": check,
    }
    ward.hear(signs[sign])
    ward.pass_time(4)  # it is asked after 1 and 3 seconds, and would be after 7
    assert len(ward.asked) == 2
    ward.down.clear()
    ward.pass_time(1_000)
    assert len(ward.asked) == 3
    assert ward.states == {NAME: State.CLOSED}
    assert [each.details and each.details["recovery.try"] for each in ward.checks] == [1, 2, 3]


def test_it_is_told_once_how_long_it_was_away_though_the_application_comes_back_too() -> None:
    ward = Ward(tries=10)
    ward.down.add(DATABASE)
    ward.fail(took_s=0.5)
    ward.pass_time(4)
    ward.down.clear()
    ward.pass_time(10)
    ward.succeed()
    ward.pass_time(100)
    (told,) = ward.recovered
    assert told.duration_ns == 7_500_000_000
    assert told.failed_attempts == 3


def test_what_was_opened_before_the_last_failure_is_retired_once_and_before_it_is_told() -> None:
    ward = Ward(tries=10)
    ward.down.add(DATABASE)
    ward.fail()
    ward.now = 0.5
    ward.fail()
    ward.down.clear()
    ward.pass_time(100)
    assert ward.retired == [(DATABASE, EPOCH_S + 0.5)]
    assert ward.order == ["retired", "published"]


def test_a_connection_of_the_applications_own_ends_the_asking_and_has_the_rest_retired() -> None:
    ward = Ward()
    ward.fail()
    ward.now = 0.5
    ward.succeed()
    assert ward.retired == []  # not by whoever brings the event
    ward.pass_time(100)
    assert ward.asked == []
    assert ward.retired == [(DATABASE, EPOCH_S)]
    assert len(ward.recovered) == 1


def test_a_check_that_was_made_anyway_ends_the_outage_like_a_try() -> None:
    ward = Ward()
    ward.fail()
    ward.now = 0.5
    ward.ask(DATABASE)
    assert ward.order == ["retired", "published"]
    assert ward.states == {NAME: State.CLOSED}
    assert [each.details for each in ward.checks] == [{"synthetic": True}]
    ward.pass_time(100)
    assert len(ward.retired) == len(ward.recovered) == len(ward.asked) == 1


def test_the_connection_that_was_there_before_the_failure_ends_nothing() -> None:
    ward = Ward()
    earlier = ward.success()
    ward.now = 0.5
    ward.fail()
    ward.hear(earlier)
    assert ward.states == {NAME: State.OPEN}


def test_a_failure_that_began_before_it_was_back_does_not_open_it_again() -> None:
    ward = Ward()
    ward.fail()
    ward.pass_time(2)  # it answered at 1
    ward.fail(took_s=1.5)
    assert ward.states == {NAME: State.CLOSED}
    ward.fail(took_s=0.5)
    assert ward.states == {NAME: State.OPEN}


def test_it_is_given_up_after_the_last_try_loudly_and_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ward = Ward(tries=3)
    ward.down.add(DATABASE)
    ward.fail()
    with caplog.at_level(logging.ERROR, "otel_dbevents.health"):
        ward.pass_time(1_000)
        ward.fail()
        ward.pass_time(1_000)
    assert len(ward.asked) == 3
    (line,) = caplog.messages
    assert "local/postgresql/localhost:5432/shop did not answer 3 times" in line
    given_up = [(each.details or {}).get("recovery.given_up") for each in ward.checks]
    assert given_up == [None, None, True]
    assert ward.states == {NAME: State.GIVEN_UP}
    assert ward.retired == []


def test_one_that_was_given_up_is_back_when_the_application_gets_a_connection() -> None:
    ward = Ward(tries=1)
    ward.down.add(DATABASE)
    ward.fail()
    ward.pass_time(10)
    ward.succeed()
    ward.pass_time(10)
    assert ward.states == {NAME: State.CLOSED}
    assert len(ward.retired) == len(ward.recovered) == 1
    ward.fail()
    ward.pass_time(10)
    assert len(ward.asked) == 2


@pytest.mark.parametrize("answers", [True, False])
def test_a_try_that_the_application_overtakes_mends_once_and_gives_nothing_up(
    answers: bool,
) -> None:
    ward = Ward(tries=1)
    if not answers:
        ward.down.add(DATABASE)
    ward.fail()
    ward.now = 1
    ward.meanwhile.append(ward.success())
    ward.work()
    ward.pass_time(0)
    assert len(ward.retired) == 1
    assert "recovery.given_up" not in (ward.checks[0].details or {})
    assert ward.order[0] == "retired"


@pytest.mark.parametrize(
    ("code", "why"),
    [("53300", ""), ("1040", ""), ("", "too many connections"), ("3D000", "")],
)
def test_where_the_database_itself_refused_the_other_connections_are_left_alone(
    code: str, why: str
) -> None:
    ward = Ward()
    ward.hear(ward.failure(code=code, why=why))
    ward.pass_time(100)
    assert len(ward.asked) == 1
    assert len(ward.recovered) == 1
    assert ward.retired == []


@pytest.mark.parametrize(
    ("code", "why"), [("28P01", ""), ("1045", ""), ("", "authentication failed")]
)
def test_one_that_refuses_the_password_is_not_asked(code: str, why: str) -> None:
    ward = Ward()
    ward.hear(ward.failure(code=code, why=why))
    ward.pass_time(100)
    assert ward.asked == []


def test_pools_that_were_just_mended_are_mended_again_only_after_a_while() -> None:
    ward = Ward()
    ward.fail()
    ward.now = 0.1
    ward.succeed()
    ward.pass_time(0.1)
    ward.fail()
    ward.now = 0.3
    ward.succeed()
    ward.pass_time(4)
    assert [before for _, before in ward.retired] == [EPOCH_S]
    ward.pass_time(4)
    assert [before for _, before in ward.retired] == [EPOCH_S, EPOCH_S + 0.2]


def test_nothing_is_mended_while_it_is_away_again() -> None:
    ward = Ward(tries=1)
    ward.fail()
    ward.now = 0.1
    ward.succeed()
    ward.down.add(DATABASE)
    ward.now = 0.2
    ward.fail()
    ward.pass_time(100)
    assert ward.states == {NAME: State.GIVEN_UP}
    assert ward.retired == []


def test_databases_are_asked_each_by_itself() -> None:
    ward = Ward(tries=2)
    ward.down.add(OTHER)
    ward.fail()
    ward.fail(OTHER)
    ward.pass_time(100)
    assert ward.asked == [DATABASE, OTHER, OTHER]
    assert [each.database for each in ward.recovered] == [DATABASE]


def test_one_that_no_engine_leads_to_any_more_is_let_be() -> None:
    ward = Ward()
    ward.gone.add(DATABASE)
    ward.fail()
    ward.pass_time(1_000)
    assert len(ward.asked) == 1
    assert ward.told == []
    assert ward.retired == []


@pytest.mark.swallows
def test_an_error_of_ours_in_asking_or_mending_harms_nobody() -> None:
    ward = Ward()
    ward._probe = ward._retire = lambda *_: 1 / 0  # type: ignore[assignment]
    ward.fail()
    ward.pass_time(100)
    ward.fail()
    ward.now += 0.1
    ward.succeed()
    ward.pass_time(100)
    assert ward.states == {NAME: State.CLOSED}


def test_after_the_end_nobody_is_asked() -> None:
    ward = Ward()
    ward.fail()
    ward.close()
    ward.now = 10
    ward.work()
    assert ward.asked == []


def test_what_is_known_is_bounded() -> None:
    ward = Ward()
    for number in range(1_001):
        ward.fail(Database(Environment.LOCAL, DatabaseType.SQLITE, f"{number}.db"))
    assert len(ward.states) == 1_000


def test_the_worker_is_there_only_while_something_is_to_be_done() -> None:
    """A real thread and a real clock."""
    asked, go_on = threading.Event(), threading.Event()

    def ask(database: Database) -> DatabaseHealthCheckCompleted:
        asked.set()
        go_on.wait(30)
        return DatabaseHealthCheckCompleted("healthy", 1, {"synthetic": True}, database=database)

    def workers() -> list[threading.Thread]:
        return [
            each for each in threading.enumerate() if each.name == "otel-dbevents-health-recovery"
        ]

    recovery = Recovery(ask, lambda *_: None, lambda *_: None, first_s=0.01)
    try:
        recovery.consume([])
        assert workers() == []
        recovery.consume([(Ward().failure(), None)] * 2)
        assert asked.wait(30)
        (worker,) = workers()
        assert worker.daemon
        go_on.set()
        wait_until(lambda: workers() == [])
        recovery.consume([(DatabaseConnectionFailed("local", "", database=OTHER), None)])
        wait_until(lambda: workers() == [] and recovery.states[OTHER.aggregate_id] == "closed")
    finally:
        go_on.set()
        recovery.close()


def test_times_between_tries_grow() -> None:
    ward = Ward(tries=5)
    ward.down.add(DATABASE)
    ward.fail()
    ward.pass_time(1_000)
    ends = [each.end_time_ns / 1e9 for each in ward.checks]
    assert [after - before for before, after in pairwise(ends)] == [2, 4, 4, 4]


def test_nothing_is_heard_of_what_happens_in_a_query() -> None:
    in_queries = {
        QueryExecuted,
        QueryFailed,
        ConnectionCheckedOut,
        ConnectionCheckedIn,
        TransactionCommitted,
        TransactionReleased,
    }
    assert not in_queries & {*Recovery.types}
