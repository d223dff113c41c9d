"""Domain events as log records and as events on the application's open span."""

import pytest
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from otel_dbevents.bridge import EVENT_NAMES, OPEN_SPAN_TYPES, Bridge
from otel_dbevents.events import AnyEvent, Failure
from otel_dbevents.stacks import with_stack
from tests.bridge.support import (
    DB,
    DB_ATTRIBUTES,
    DENIED,
    END,
    INSERT,
    MS,
    PARENT,
    Told,
    checked_in,
    checked_out,
    closed,
    commit_failed,
    committed,
    connect_failed,
    established,
    executed,
    failed,
    health,
    invalidated,
    recovered,
    released,
    repeated,
    rollback_failed,
    rolled_back,
    slow,
    timed_out,
)

INFO, WARN, ERROR = SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR
WHERE = {**DB_ATTRIBUTES, "deployment.environment.name": "production"}
FAILED = {"error.type": "42501", "db.response.status_code": "42501"}
QUERY = {
    "db.query.summary": "SELECT customers",
    "db.query.text": "SELECT * FROM customers WHERE id = ?",
}
ENDED = {
    "dbevents.duration": 0.001,
    "dbevents.transaction.statement_count": 3,
    "dbevents.transaction.duration": 0.25,
}
EXHAUSTED = {
    "db.client.connection.pool.name": "orders",
    "error.type": "sqlalchemy.exc.TimeoutError",
    "dbevents.duration": 5.0,
    "dbevents.pool.used": 5,
    "dbevents.pool.max": 5,
}
UNUSABLE = {
    "db.client.connection.pool.name": "orders",
    "dbevents.connection.soft_invalidation": False,
}
REFUSED = {
    "dbevents.failed_attempts": 2,
    "dbevents.error_message": "connection refused",
    "dbevents.duration": 0.02,
}
OPENED = {"dbevents.pool.size": 5, "dbevents.duration": 0.02}
CHECKED = {"dbevents.health.latency": 0.15}
QUERY_SLOW = {**QUERY, "dbevents.duration": 0.007, "dbevents.query.threshold": 0.001}

CASES = [
    (established(), "database.connection.established", INFO, OPENED),
    (connect_failed(), "database.connection.failed", ERROR, {**FAILED, **REFUSED}),
    (
        health("healthy"),
        "database.health_check.completed",
        INFO,
        {**CHECKED, "dbevents.health.status": "healthy"},
    ),
    (
        health("degraded"),
        "database.health_check.completed",
        WARN,
        {**CHECKED, "dbevents.health.status": "degraded"},
    ),
    (
        health("unhealthy"),
        "database.health_check.completed",
        ERROR,
        {**CHECKED, "dbevents.health.status": "unhealthy"},
    ),
    (
        recovered(),
        "database.recovered",
        INFO,
        {"dbevents.duration": 9.0, "dbevents.failed_attempts": 3},
    ),
    (invalidated(), "database.connection.invalidated", WARN, {**UNUSABLE, **FAILED}),
    (invalidated(failure=None), "database.connection.invalidated", WARN, UNUSABLE),
    (timed_out(), "database.checkout.timed_out", ERROR, EXHAUSTED),
    (commit_failed(), "database.commit.failed", ERROR, {**ENDED, **FAILED}),
    (rollback_failed(), "database.rollback.failed", ERROR, {**ENDED, **FAILED}),
    (
        failed(),
        "db.client.operation.exception",
        WARN,
        {**FAILED, **QUERY, "dbevents.duration": 0.007},
    ),
    (slow(executed()), "database.query.slow", WARN, QUERY_SLOW),
    (
        repeated(),
        "database.query.repeated",
        WARN,
        {**QUERY, "dbevents.duration": 0.06, "dbevents.query.count": 12},
    ),
]
IDS = [f"{name} {severity.name}" for _, name, severity, _ in CASES]
ONLY_IN_RECORDS = {
    "dbevents.aggregate_id",
    "exception.type",
    "exception.message",
    "dbevents.pool.holder.held",
    "dbevents.pool.holder.spans",
    "dbevents.pool.holder.code",
}


@pytest.mark.parametrize(("event", "name", "severity", "attributes"), CASES, ids=IDS)
def test_a_domain_event_is_a_record(event, name, severity, attributes):
    (record,) = Told().tell(event).records
    assert record.event_name == name
    assert record.severity_number is severity
    assert record.severity_text == severity.name
    assert record.timestamp == END
    assert record.observed_timestamp > END
    told = {k: v for k, v in record.attributes.items() if k not in ONLY_IN_RECORDS}
    assert told == {**WHERE, **attributes}
    assert record.attributes["dbevents.aggregate_id"] == DB.aggregate_id


@pytest.mark.parametrize(("event", "name", "severity", "attributes"), CASES, ids=IDS)
def test_a_body_is_a_fixed_sentence(event, name, severity, attributes):
    (record,) = Told().tell(event).records
    assert record.body[0].isupper()
    assert not any(str(value) in record.body for value in attributes.values() if value != 2)


@pytest.mark.parametrize(
    "event",
    [executed(), checked_out(), checked_in(), closed(), committed(), released(), rolled_back()],
    ids=lambda event: event.event_type,
)
def test_what_floods_is_no_record_and_no_event_on_a_span(event):
    assert Told().tell(event).records == []
    assert on_span(event).events == ()


def test_every_type_but_the_floods_has_a_name():
    floods = {type(e) for e in (executed(), checked_out(), checked_in(), closed(), committed())}
    floods |= {type(released()), type(rolled_back())}
    assert set(EVENT_NAMES) | floods == set(AnyEvent.__args__)


@pytest.mark.parametrize("event", [failed(), commit_failed(), connect_failed(), timed_out()])
def test_a_record_has_the_ids_of_the_span_made_of_the_event(event):
    told = Told().tell(event)
    (record,) = told.records
    assert record.span_id == told.span.context.span_id
    assert record.trace_id == told.span.context.trace_id
    assert record.trace_flags == told.span.context.trace_flags


def test_a_record_of_an_event_without_span_has_its_parents_ids():
    (record,) = Told().tell(invalidated()).records
    assert record.span_id == int.from_bytes(PARENT.span_id, "big")
    assert record.trace_id == int.from_bytes(PARENT.trace_id, "big")
    assert record.trace_flags == 1


def test_a_record_of_an_event_without_parent_has_no_trace_whatever_is_current_here():
    told = Told(spans=False)
    with told.tracers.get_tracer("application").start_as_current_span("current"):
        told.tell(failed(parent=None), context=Context())
        told.tell(failed(parent=None))
    assert [(record.trace_id, record.span_id) for record in told.records] == [(0, 0), (0, 0)]


def test_the_exceptions_message_is_told_only_where_it_was_asked_for():
    secret = Failure("42501", "psycopg.errors.X", "denied", "42501", message="for ada@example.com")
    silent, loud = Told().tell(failed(), failed(failure=secret)).records
    assert silent.attributes["exception.type"] == DENIED.exception_type
    assert "exception.message" not in silent.attributes
    assert loud.attributes["exception.message"] == "for ada@example.com"


def test_a_failure_nobody_explains_is_told():
    (record,) = Told().tell(connect_failed(failure=None, duration_ns=-1)).records
    assert record.attributes["error.type"] == "_OTHER"
    assert "exception.type" not in record.attributes
    assert "dbevents.duration" not in record.attributes
    (record,) = Told().tell(invalidated(failure=Failure("", ""))).records
    assert "exception.type" not in record.attributes


def test_a_timeouts_record_names_who_holds_the_connections():
    (record,) = Told().tell(timed_out()).records
    assert list(record.attributes["dbevents.pool.holder.held"]) == [3.0, 1.0]
    assert list(record.attributes["dbevents.pool.holder.spans"]) == [str(PARENT), ""]
    assert record.attributes["exception.type"] == "sqlalchemy.exc.TimeoutError"


def test_a_batchs_failure_says_so():
    (record,) = Told().tell(failed(statement=INSERT, batch_size=0)).records
    assert record.attributes["db.operation.batch.size"] == 0
    assert record.attributes["db.operation.name"] == "BATCH INSERT"


def test_health_details_are_flat_and_bounded():
    details = {"replicas": 2, "lag": 0.5, "primary": True, "none": None, "nested": {"a": [1]}}
    (record,) = Told().tell(health(details=details)).records
    prefix = "dbevents.health.detail."
    found = {k.removeprefix(prefix): v for k, v in record.attributes.items() if prefix in k}
    assert found == {"replicas": 2, "lag": 0.5, "primary": True, "nested": '{"a": [1]}'}
    (record,) = Told().tell(health(details={str(n): n for n in range(99)})).records
    assert sum(prefix in key for key in record.attributes) == 32


def test_a_no_op_logger_does_nothing():
    bridge = Bridge(None, None, NoOpLoggerProvider())
    bridge.consume([(failed(), None)])
    assert not bridge.lost


def on_span(event, bridge=None, sampler=None):
    """Tell of the event while a span of the application is open."""
    span = (
        TracerProvider(sampler=sampler, shutdown_on_exit=False)
        .get_tracer("application")
        .start_span("request", Context())
    )
    context = set_span_in_context(span, Context())
    (bridge or Bridge(None, None, None)).on_open_span(event, context)
    span.end()
    return span


@pytest.mark.parametrize(
    ("event", "name", "attributes"),
    [(e, name, attributes) for e, name, _, attributes in CASES if type(e) in OPEN_SPAN_TYPES],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_domain_event_is_told_on_the_open_span_under_the_records_name(event, name, attributes):
    (told,) = on_span(event).events
    assert told.name == name
    assert told.timestamp == END
    assert dict(told.attributes) == {**WHERE, **attributes}


def test_the_current_span_is_taken_where_no_context_was_captured():
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
    with tracer.start_as_current_span("request") as span:
        Bridge(None, None, None).on_open_span(established(), None)
    assert [event.name for event in span.events] == ["database.connection.established"]


def test_a_span_that_does_not_record_gets_nothing():
    assert not on_span(established(), sampler=ALWAYS_OFF).is_recording()
    context = set_span_in_context(INVALID_SPAN, Context())
    Bridge(None, None, None).on_open_span(established(), context)


def test_a_closed_bridge_adds_nothing():
    bridge = Bridge(None, None, None)
    bridge.close()
    assert on_span(established(), bridge).events == ()


def test_the_types_for_open_spans_are_the_ones_that_end_while_a_span_is_open():
    assert Bridge.open_span_types is OPEN_SPAN_TYPES
    assert {type(slow(executed(duration_ns=MS))), type(repeated())}.isdisjoint(OPEN_SPAN_TYPES)


def test_a_stack_is_in_the_record_where_the_context_has_one():
    told = Told()
    told.tell(connect_failed(), context=with_stack(Context(), lambda: "Traceback: here"))
    told.tell(connect_failed(), context=Context())
    first, second = told.records
    assert first.attributes["exception.stacktrace"] == "Traceback: here"
    assert "exception.stacktrace" not in second.attributes
