"""The facts: what they take, what they refuse, what they say of themselves."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from threading import Thread
from time import time_ns
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_dbevents.codec import decode, encode
from otel_dbevents.events import (
    EVENT_TYPES,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    Event,
    HealthStatus,
    QueryExecuted,
    TraceParent,
    new_id,
    new_ids,
)
from tests.any_event import any_event, unhurried
from tests.golden.expected import DATABASE, FILE, V1

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
every_event = pytest.mark.parametrize("event", V1.values(), ids=V1)


def established(**given: Any) -> DatabaseConnectionEstablished:
    start = {"environment": "local", "database_type": "sqlite", "connection_pool_size": 5}
    return DatabaseConnectionEstablished(**{**start, **given})


def failed(**given: Any) -> DatabaseConnectionFailed:
    return DatabaseConnectionFailed(**{"environment": "local", "error_message": "no", **given})


def checked(**given: Any) -> DatabaseHealthCheckCompleted:
    return DatabaseHealthCheckCompleted(**{"status": "healthy", "latency_ms": 1, **given})


PROMISED = pytest.mark.parametrize("make", [established, failed, checked])


# The promised constructors


def test_the_promised_constructors_take_these_arguments_in_this_order() -> None:
    up = DatabaseConnectionEstablished("production", "postgresql", 20, NOON)
    assert (up.environment, up.database_type) == (Environment.PRODUCTION, DatabaseType.POSTGRESQL)
    assert (up.connection_pool_size, up.timestamp) == (20, NOON)
    down = DatabaseConnectionFailed("staging", "refused", 3, NOON)
    assert (down.environment, down.error_message) == (Environment.STAGING, "refused")
    assert (down.retry_count, down.timestamp) == (3, NOON)
    health = DatabaseHealthCheckCompleted("degraded", 12.5, {"lag": 1}, NOON)
    assert (health.status, health.latency_ms) == (HealthStatus.DEGRADED, 12.5)
    assert (health.details, health.timestamp) == ({"lag": 1}, NOON)


def test_the_promised_constructors_take_them_by_name() -> None:
    up = DatabaseConnectionEstablished(
        environment=Environment.LOCAL,
        database_type=DatabaseType.TURSO,
        connection_pool_size=1,
        timestamp=NOON,
    )
    assert up.database_type is DatabaseType.TURSO
    down = DatabaseConnectionFailed(environment="local", error_message="no")
    assert down.retry_count == 0
    health = DatabaseHealthCheckCompleted(status=HealthStatus.HEALTHY, latency_ms=1)
    assert health.details is None
    assert type(health.latency_ms) is float


@unhurried
@given(st.sampled_from(Environment), st.sampled_from(DatabaseType), st.sampled_from(HealthStatus))
def test_a_member_and_its_text_are_alike(
    environment: Environment, kind: DatabaseType, status: HealthStatus
) -> None:
    same = {"timestamp": NOON, "id": bytes(16)}
    assert established(environment=environment, database_type=kind, **same) == established(
        environment=environment.value, database_type=f" {kind.value.upper()} ", **same
    )
    assert checked(status=status, **same) == checked(status=status.value.title(), **same)
    assert established(environment=environment.value).environment is environment
    assert established(database_type=kind.value).database_type is kind
    assert checked(status=status.value).status is status


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("PRODUCTION", Environment.PRODUCTION),
        (" Staging\n", Environment.STAGING),
        ("dEvelopment", Environment.DEVELOPMENT),
        ("local", Environment.LOCAL),
        ("prod", Environment.LOCAL),
        ("", Environment.LOCAL),
    ],
)
def test_an_environment_is_read_without_regard_to_case(text: str, environment: Environment) -> None:
    assert Environment(text) is environment
    assert failed(environment=text).environment is environment


@unhurried
@given(st.text())
def test_every_text_is_some_environment(text: str) -> None:
    known = {member.value: member for member in Environment}
    assert Environment(text) is known.get(text.strip().lower(), Environment.LOCAL)


@pytest.mark.parametrize("value", ["turso", "sqlite", "redis", "postgresql", "mysql", "mariadb"])
def test_the_promised_databases_are_known(value: str) -> None:
    assert DatabaseType(value).value == value


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (established, {"environment": None}, "environment takes one of production, staging, lo"),
        (established, {"environment": ["local"]}, "environment takes one of .*; got list"),
        (failed, {"environment": 1}, "environment takes one of .*; got 1"),
        (checked, {"environment": 1.5}, "environment takes one of .*; got 1.5"),
        (established, {"database_type": "dbase"}, "database_type takes one of turso.*got 'dbase'"),
        (established, {"database_type": None}, "database_type takes one of .*; got NoneType"),
        (checked, {"status": "fine"}, "status takes one of healthy, degraded, unhealthy; got 'f"),
        (checked, {"status": True}, "status takes one of"),
        (established, {"connection_pool_size": -1}, "connection_pool_size takes a whole .* -1"),
        (established, {"connection_pool_size": "5"}, "connection_pool_size takes a whole"),
        (established, {"connection_pool_size": 5.0}, "connection_pool_size takes a whole"),
        (established, {"connection_pool_size": True}, "connection_pool_size takes a whole"),
        (established, {"connection_pool_size": None}, "connection_pool_size takes a whole"),
        (established, {"connection_pool_size": 10**5000}, "connection_pool_size takes a whole"),
        (failed, {"retry_count": -1}, "retry_count takes a whole number, 0 or more; got -1"),
        (failed, {"retry_count": "often"}, "retry_count takes a whole number"),
        (failed, {"error_message": None}, "error_message takes a text; got NoneType"),
        (failed, {"error_message": b"x"}, "error_message takes a text; got bytes"),
        (checked, {"latency_ms": -0.1}, "latency_ms takes milliseconds, 0 or more; got -0.1"),
        (checked, {"latency_ms": float("nan")}, "latency_ms takes .*; got nan"),
        (checked, {"latency_ms": float("inf")}, "latency_ms takes .*; got inf"),
        (checked, {"latency_ms": 10**5000}, "latency_ms takes .*; got int"),
        (checked, {"latency_ms": True}, "latency_ms takes"),
        (checked, {"latency_ms": "1"}, "latency_ms takes"),
        (checked, {"details": ["x"]}, "details takes a mapping; got list"),
        (checked, {"details": "x"}, "details takes a mapping; got 'x'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(
    make: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**given)


def test_a_refusal_tells_no_secret() -> None:
    class Leaky(Exception):
        def __repr__(self) -> str:
            return "hunter2"

    url = "postgresql://ada:hunter2@db/shop"
    refused: list[tuple[Any, dict[str, Any]]] = [
        (established, {"database_type": url}),
        (established, {"connection_pool_size": url}),
        (failed, {"error_message": Leaky()}),
        (checked, {"details": [url]}),
        (checked, {"timestamp": url}),
        (checked, {"status": url}),
    ]
    for make, given_values in refused:
        with pytest.raises(ValueError, match="takes") as caught:
            make(**given_values)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "healthy", "alert"),
    [("healthy", True, False), ("degraded", False, True), ("unhealthy", False, True)],
)
def test_degraded_or_worse_requires_an_alert(status: str, healthy: bool, alert: bool) -> None:
    assert checked(status=status).is_healthy is healthy
    assert checked(status=status).requires_alert is alert


# Time


@PROMISED
def test_a_time_is_made_in_utc(make: Any) -> None:
    before = time_ns()
    event = make()
    assert before <= event.time_ns <= time_ns()
    assert event.timestamp.tzinfo is UTC
    assert event.timestamp == event.occurred_at


@PROMISED
def test_a_given_time_is_taken_over_in_utc(make: Any) -> None:
    there = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    event = make(timestamp=there)
    assert event.timestamp == there
    assert event.timestamp.tzinfo is UTC
    assert event.time_ns == 1_770_070_806_789_012_000
    assert event.to_dict()["timestamp"] == "2026-02-02T22:20:06.789012+00:00"


class Nowhere(tzinfo):
    """A zone that does not know its offset, which makes a time naive."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None


@PROMISED
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (NOON.replace(tzinfo=None), "timestamp takes a datetime with a time zone"),
        (NOON.replace(tzinfo=Nowhere()), "timestamp takes a datetime with a time zone"),
        (date(2026, 2, 3), "timestamp takes a datetime; got date"),
        ("2026-02-03T12:00:00Z", "timestamp takes a datetime; got '2026"),
        (0, "timestamp takes a datetime; got 0"),
        (
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            "timestamp takes a time from 1970",
        ),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "timestamp takes a time from"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            "timestamp takes a time from",
        ),
    ],
    ids=str,
)
def test_a_time_that_is_not_allowed_is_refused(make: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(timestamp=given)


@PROMISED
@pytest.mark.parametrize("end", [-1, 2**63, 1.5, "now"])
def test_an_end_that_is_not_allowed_is_refused(make: Any, end: Any) -> None:
    with pytest.raises(ValueError, match="end_time_ns takes a whole number"):
        make(end_time_ns=end)


def test_both_times_tell_one_moment() -> None:
    exact = 1_770_120_000_000_000_789
    assert established(end_time_ns=exact).timestamp == NOON
    assert established(end_time_ns=exact, timestamp=NOON).time_ns == exact
    assert established(end_time_ns=5, timestamp=NOON).time_ns == exact - 789


def test_a_time_of_another_kind_becomes_a_plain_one() -> None:
    class Moment(datetime):
        pass

    event = checked(timestamp=Moment(2026, 2, 3, 12, tzinfo=UTC))
    assert type(event.timestamp) is datetime
    assert decode(encode(event)) == event


@every_event
def test_every_event_has_a_time(event: Any) -> None:
    assert event.timestamp == event.occurred_at
    assert event.timestamp.tzinfo is UTC
    assert abs(event.occurred_at.timestamp() - event.time_ns / 1e9) < 1e-5


# Identity


@pytest.mark.parametrize("number", [1, 2, 500, 3_000])
def test_ids_are_random_uuids_and_unique_also_many_at_a_time(number: int) -> None:
    batches = [new_ids(number) for _ in range(10_000 // number)]
    assert {len(batch) for batch in batches} == {number}
    _are_random([each for batch in batches for each in batch])


def test_ids_are_random_uuids_and_unique() -> None:
    _are_random([new_id() for _ in range(10_000)])


def _are_random(made: list[bytes]) -> None:
    ids = [UUID(bytes=each) for each in made]
    assert len(set(ids)) == len(ids)
    assert {one.version for one in ids} == {4}
    assert {one.variant for one in ids} == {RFC_4122}
    for bit in range(128):
        fixed = 76 <= bit < 80 or 62 <= bit < 64
        assert fixed or 0.4 < sum(one.int >> bit & 1 for one in ids) / len(ids) < 0.6


@every_event
def test_every_event_makes_its_own_id(event: Event) -> None:
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "id"}
    first, second = type(event)(**fields), type(event)(**fields)
    assert first.event_id != second.event_id
    assert first.event_id == UUID(bytes=first.id)
    assert str(first.event_id) == first.to_dict()["event_id"]


def test_a_seed_of_the_application_does_not_repeat_ids() -> None:
    state = random.getstate()
    try:
        random.seed(1)
        first = new_id()
        random.seed(1)
        assert new_id() != first
        untouched = random.getstate()
        new_id()
        assert random.getstate() == untouched
    finally:
        random.setstate(state)


FORKED = """
import os, sys
from otel_dbevents.events import new_id
new_id()
for _ in range(3):
    if os.fork() == 0:
        break
else:
    for _ in range(3):
        assert os.wait()[1] == 0
os.write(1, (new_id().hex() + chr(10)).encode())
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_not_repeat_ids() -> None:
    assert len(set(told_by(FORKED).split())) == 4


def test_threads_do_not_share_ids() -> None:
    made: list[bytes] = []
    threads = [Thread(target=lambda: made.extend([new_id() for _ in range(2_000)])) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8_000


# The aggregate


def told_by(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


AGGREGATES = """
from otel_dbevents.sources.database import database_of
from otel_dbevents.events import *
from sqlalchemy import create_engine
for url in ("sqlite:///shop.db", "postgresql+psycopg://ada:hunter2@DB.example.com/shop"):
    database = database_of(create_engine(url), Environment("production"))
    print(database.aggregate_id, ConnectionClosed(database, None, 1, 1).aggregate_id)
"""


def test_two_processes_name_a_database_alike() -> None:
    first, second = told_by(AGGREGATES), told_by(AGGREGATES)
    assert first == second
    names = first.split()
    assert names[2:] == ["production/postgresql/db.example.com:5432/shop"] * 2
    assert names[0] == names[1]
    assert len(set(names)) == 2


def test_all_event_types_name_a_database_alike() -> None:
    for where in (DATABASE, FILE):
        assert {replace(event, database=where).aggregate_id for event in V1.values()} == {
            where.aggregate_id
        }


@pytest.mark.parametrize(
    ("database", "name"),
    [
        (DATABASE, "production/postgresql/db.example.com:5433/shop"),
        (FILE, "local/sqlite/shop.db#9f86d081"),
        (Database(Environment.LOCAL, DatabaseType.MYSQL, "x", "DB"), "local/mysql/db/x"),
        (Database(Environment.STAGING, DatabaseType.REDIS), "staging/redis"),
    ],
)
def test_an_aggregate_is_named_by_environment_and_database(database: Database, name: str) -> None:
    assert database.aggregate_id == name
    assert replace(database, pool_name="another pool").aggregate_id == name


def test_without_a_database_an_event_says_what_it_knows() -> None:
    assert established(environment="production").aggregate_id == "production/sqlite"
    assert failed(environment="staging").aggregate_id == "staging"
    assert checked(environment="development").aggregate_id == "development"
    assert Event().aggregate_id == "local"


# What an event says of itself


def bytes_in(value: Any) -> bool:
    if isinstance(value, dict):
        return any(bytes_in(key) or bytes_in(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(bytes_in(item) for item in value)
    return isinstance(value, bytes)


@unhurried
@given(any_event())
def test_every_event_is_plain_values(event: Event) -> None:
    plain = event.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert not bytes_in(plain)
    assert plain["event_type"] == event.event_type == type(event).__name__
    assert plain["aggregate_id"] == event.aggregate_id
    assert plain["payload"] == event.payload
    assert datetime.fromisoformat(plain["timestamp"]) == event.occurred_at
    assert ("traceparent" in plain) is (event.parent is not None)
    assert not {"id", "parent", "timestamp", "end_time_ns"} & set(plain["payload"])


def test_a_payload_holds_what_is_particular() -> None:
    assert V1["CheckoutTimedOut"].to_dict() == {
        "event_id": "0199c0de-0000-4000-8000-00000000000c",
        "event_type": "CheckoutTimedOut",
        "aggregate_id": "production/postgresql/db.example.com:5433/shop",
        "timestamp": "2025-10-09T08:53:20.123456+00:00",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "payload": {
            "database": {
                "environment": "production",
                "system_name": "postgresql",
                "namespace": "shop",
                "server_address": "db.example.com",
                "server_port": 5433,
                "pool_name": "db.example.com:5433/shop",
                "location": "",
            },
            "duration_ns": 30_000_000_000,
            "used": 2,
            "max": 2,
            "holders": [
                {
                    "parent": {
                        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                        "span_id": "00f067aa0ba902b7",
                        "trace_flags": 0,
                        "trace_state": "",
                    },
                    "held_ns": 31_000_000_000,
                    "called_from": None,
                },
                {"parent": None, "held_ns": 5, "called_from": None},
            ],
        },
    }


def test_a_payload_keeps_zero_and_leaves_out_what_is_empty() -> None:
    payload = failed(duration_ns=0, failure=None, error_message="").payload
    assert payload == {"environment": "local", "retry_count": 0, "duration_ns": 0}


def test_a_traceparent_is_w3cs() -> None:
    parent = TraceParent(bytes(15) + b"\x01", bytes(7) + b"\x02", 0)
    assert str(parent) == "00-00000000000000000000000000000001-0000000000000002-00"


@every_event
def test_an_event_cannot_be_changed(event: Event) -> None:
    for name in event.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(event, name, None)
    with pytest.raises(AttributeError):
        event.more = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_an_event_is_as_light_as_it_can_be(kind: type[Event]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert not config.gc
    assert config.tag == kind.__name__
    assert not config.forbid_unknown_fields


def test_details_are_the_events_own() -> None:
    details = {"replicas": [1]}
    event = checked(details=details)
    details["replicas"].append(2)
    assert event.details == {"replicas": [1]}


def test_a_message_that_is_no_utf8_is_told_as_far_as_it_is() -> None:
    assert failed(error_message="no \udcff file").error_message == "no ? file"


def test_facts_of_the_wire_are_made_by_position() -> None:
    query = V1["QueryExecuted"]
    made = QueryExecuted(
        query.database, query.parent, query.end_time_ns, query.duration_ns, query.statement,
        query.batch_size, query.returned_rows, query.affected_rows, query.fetch_ns, id=query.id,
    )  # fmt: skip
    assert made == query


@given(
    environment=st.sampled_from(Environment),
    database_type=st.sampled_from(DatabaseType),
    size=st.integers(0, 2**63 - 1),
    end=st.integers(1, 2**63 - 1),
    duration=st.integers(-1, 2**63 - 1),
)
def test_made_as_the_sources_make_it_it_is_the_same_as_by_texts(
    environment: Environment, database_type: DatabaseType, size: int, end: int, duration: int
) -> None:
    more: dict[str, Any] = {"id": new_id(), "database": DATABASE}
    ours, theirs = (
        DatabaseConnectionEstablished(*first, size, None, end, duration, **more)
        for first in ((environment, database_type), (environment.value, database_type.value))
    )
    assert ours == theirs
    assert ours.timestamp == theirs.timestamp == ours.occurred_at
    assert ours.timestamp is not None
    assert ours.timestamp.tzinfo is UTC
    assert encode(ours) == encode(theirs)
    assert decode(encode(ours)) == theirs


@pytest.mark.parametrize(
    "wrong",
    [
        {"connection_pool_size": -1},
        {"connection_pool_size": 2**63},
        {"connection_pool_size": True},
        {"end_time_ns": -1},
        {"end_time_ns": 2**63},
        {"end_time_ns": True},
        {"environment": DatabaseType.SQLITE, "database_type": "nosuch"},
        {"database_type": Environment.LOCAL},
    ],
)
def test_made_as_the_sources_make_it_it_refuses_the_same(wrong: dict[str, Any]) -> None:
    ours: dict[str, Any] = {
        "environment": Environment.LOCAL,
        "database_type": DatabaseType.SQLITE,
        "connection_pool_size": 5,
        "end_time_ns": 10**18,
    }
    with pytest.raises(ValueError, match=r"takes"):
        DatabaseConnectionEstablished(**{**ours, **wrong})
