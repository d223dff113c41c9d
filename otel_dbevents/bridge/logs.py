"""Log records and span events: the domain events, told under one name in both.

A domain event is a log record with an ``event_name`` and, where the application has a span open,
an event on it. What happens many times a second (queries that went well, checkouts, checkins,
closes, ends of transactions) is neither: spans and metrics tell of it.

Names are ours (``database.*``) but for a failed query, which has a convention:
``db.client.operation.exception``, severity WARN (docs/db/database-exceptions.md 1.44). Bodies are
fixed sentences; whatever varies is an attribute.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from opentelemetry._logs import LoggerProvider, NoOpLogger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from otel_dbevents.bridge import attributes as at
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    Event,
    Failure,
    HealthStatus,
    Holder,
    QueryExplained,
    QueryFailed,
    RepeatedQueryDetected,
    RollbackFailed,
    SlowQueryDetected,
)

OPEN_SPAN_TYPES: Final[tuple[type[Event], ...]] = (
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    CheckoutTimedOut,
    CommitFailed,
    RollbackFailed,
    ConnectionInvalidated,
)
"""What is told on the application's open span."""

_MOST_DETAILS = 32
_INFO, _WARN, _ERROR = SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR


class Logs:
    """Emits the log records. A provider that records nothing costs nothing."""

    def __init__(self, logger_provider: LoggerProvider) -> None:
        self._logger = logger_provider.get_logger(at.SCOPE, at.VERSION, at.SCHEMA_URL)

    def record(self, event: Event, context: Context, stack: str = "") -> None:
        """Emit the event's record, if it has one, under the span that ``context`` holds.

        ``stack`` is that of the call that failed, where it is known.
        """
        kind = _KINDS.get(type(event))
        if kind is None or isinstance(self._logger, NoOpLogger):
            return
        severity = severity_of(event)
        attributes = record_attributes(event, stack)
        self._logger.emit(
            timestamp=event.time_ns,
            context=context,
            severity_number=severity,
            severity_text=severity.name,
            body=kind.body,
            attributes=attributes,
            event_name=kind.name,
        )


def add_to_open_span(event: Event, context: Context | None) -> None:
    """Add the event to the span in ``context`` (None: the current one) if it is recording.

    Called on the application's thread. For the types in `OPEN_SPAN_TYPES`; others are ignored.
    """
    kind = _KINDS.get(type(event))
    if kind is None:
        return
    span = get_current_span(context)
    if span.is_recording():
        span.add_event(kind.name, event_attributes(event), event.time_ns)


def event_attributes(event: Event) -> dict[str, at.Value]:
    """Return what a domain event says, flat, with the conventions' names where there are such."""
    kind = _KINDS[type(event)]
    database = at.database_of(event)
    found = dict(at.database_attributes(database)) if database is not None else {}
    found[at.ENVIRONMENT] = at.environment_of(event)
    failure: Failure | None = getattr(event, "failure", None)
    if failure is not None:
        found.update(at.failure_attributes(failure))
    found.update(kind.details(event))
    return found


def record_attributes(event: Event, stack: str = "") -> dict[str, at.Value]:
    """Return what an event's log record says, its ``stack`` with it where there is one."""
    attributes = event_attributes(event)
    attributes.update(_only_in_records(event))
    if stack:
        attributes[at.EXCEPTION_STACKTRACE] = stack
    return attributes


def _only_in_records(event: Event) -> Iterator[tuple[str, at.Value]]:
    """Give what a log record has beyond the event on a span: the exception, the whole identity."""
    yield at.AGGREGATE_ID, event.aggregate_id
    failure: Failure | None = getattr(event, "failure", None)
    if failure is not None and failure.exception_type:
        yield at.EXCEPTION_TYPE, failure.exception_type
    if failure is not None and failure.message:
        yield at.EXCEPTION_MESSAGE, failure.message
    if isinstance(event, CheckoutTimedOut):
        yield at.EXCEPTION_TYPE, at.TIMEOUT_ERROR
        yield at.POOL_HOLDER_HELD, [holder.held_ns / 1e9 for holder in event.holders]
        yield at.POOL_HOLDER_SPANS, [_traceparent(holder) for holder in event.holders]
        yield at.POOL_HOLDER_CODE, [_place(holder) for holder in event.holders]


def severity_of(event: Event) -> SeverityNumber:
    """Return how grave an event that has a log record is."""
    if isinstance(event, DatabaseHealthCheckCompleted):
        return _HEALTH[event.status]
    return _KINDS[type(event)].severity


def body_of(event: Event) -> str:
    """Return the fixed sentence of an event that has a log record."""
    return _KINDS[type(event)].body


def _traceparent(holder: Holder) -> str:
    return "" if holder.parent is None else str(holder.parent)


def _place(holder: Holder) -> str:
    place = holder.called_from
    return "" if place is None else f"{place.file_path}:{place.line_number}"


def _established(event: DatabaseConnectionEstablished) -> Iterator[tuple[str, at.Value]]:
    yield at.POOL_SIZE, event.connection_pool_size
    if event.duration_ns >= 0:
        yield at.DURATION, event.duration_ns / 1e9


def _connect_failed(event: DatabaseConnectionFailed) -> Iterator[tuple[str, at.Value]]:
    if event.failure is None:
        yield at.ERROR_TYPE, at.OTHER_ERROR
    yield at.FAILED_ATTEMPTS, event.retry_count
    yield at.ERROR_TEXT, event.error_message
    if event.duration_ns >= 0:
        yield at.DURATION, event.duration_ns / 1e9


def _health(event: DatabaseHealthCheckCompleted) -> Iterator[tuple[str, at.Value]]:
    yield at.HEALTH_STATUS, event.status.value
    yield at.HEALTH_LATENCY, event.latency_ms / 1e3
    for name, value in list((event.details or {}).items())[:_MOST_DETAILS]:
        if value is not None:
            yield at.HEALTH_DETAIL + name, _flat(value)


def _flat(value: Any) -> at.Value:
    is_plain = isinstance(value, str | bool | int | float)
    return value if is_plain else json.dumps(value, default=str)


def _timed_out(event: CheckoutTimedOut) -> Iterator[tuple[str, at.Value]]:
    yield at.POOL_NAME, at.pool_name(event.database)
    yield at.ERROR_TYPE, at.TIMEOUT_ERROR
    yield at.DURATION, event.duration_ns / 1e9
    yield at.POOL_USED, event.used
    yield at.POOL_MAX, event.max


def _invalidated(event: ConnectionInvalidated) -> Iterator[tuple[str, at.Value]]:
    yield at.POOL_NAME, at.pool_name(event.database)
    yield at.CONNECTION_SOFT, event.soft


def _ended(event: CommitFailed | RollbackFailed) -> Iterator[tuple[str, at.Value]]:
    yield at.DURATION, event.duration_ns / 1e9
    yield at.TRANSACTION_STATEMENTS, event.statement_count
    yield at.TRANSACTION_DURATION, event.transaction_ns / 1e9


def _query_failed(event: QueryFailed) -> Iterator[tuple[str, at.Value]]:
    yield from at.query_attributes(event.database, event.statement, event.batch_size != 1).items()
    if event.batch_size != 1:
        yield at.DB_OPERATION_BATCH_SIZE, event.batch_size
    yield at.DURATION, event.duration_ns / 1e9
    yield from at.code_attributes(event.called_from).items()


def _slow(event: SlowQueryDetected) -> Iterator[tuple[str, at.Value]]:
    yield from at.query_attributes(event.database, event.statement, False).items()
    yield at.DURATION, event.duration_ns / 1e9
    yield at.QUERY_THRESHOLD, event.threshold_ns / 1e9
    yield from at.code_attributes(event.called_from).items()


def _explained(event: QueryExplained) -> Iterator[tuple[str, at.Value]]:
    yield from at.query_attributes(event.database, event.statement, False).items()
    yield at.DURATION, event.duration_ns / 1e9
    yield at.QUERY_PLAN, event.plan


def _repeated(event: RepeatedQueryDetected) -> Iterator[tuple[str, at.Value]]:
    yield from at.query_attributes(event.database, event.statement, False).items()
    yield at.DURATION, event.duration_ns / 1e9
    yield at.QUERY_COUNT, event.count
    yield from at.code_attributes(event.called_from).items()
    if event.advice:
        yield at.ADVICE, event.advice


def _recovered(event: DatabaseRecovered) -> Iterator[tuple[str, at.Value]]:
    yield at.DURATION, event.duration_ns / 1e9
    yield at.FAILED_ATTEMPTS, event.failed_attempts


class _Kind(NamedTuple):
    """How one type of event is told."""

    name: str
    severity: SeverityNumber
    body: str
    details: Callable[[Any], Iterator[tuple[str, at.Value]]]


_HEALTH: Final[Mapping[HealthStatus, SeverityNumber]] = {
    HealthStatus.HEALTHY: _INFO,
    HealthStatus.DEGRADED: _WARN,
    HealthStatus.UNHEALTHY: _ERROR,
}

_KINDS: Final[Mapping[type[Event], _Kind]] = {
    DatabaseConnectionEstablished: _Kind(
        "database.connection.established", _INFO, "A database connection was opened", _established
    ),
    DatabaseConnectionFailed: _Kind(
        "database.connection.failed", _ERROR, "The database gave no connection", _connect_failed
    ),
    DatabaseHealthCheckCompleted: _Kind(
        "database.health_check.completed", _INFO, "A database health check ended", _health
    ),
    DatabaseRecovered: _Kind(
        "database.recovered", _INFO, "The database gives connections again", _recovered
    ),
    ConnectionInvalidated: _Kind(
        "database.connection.invalidated", _WARN, "A connection was found unusable", _invalidated
    ),
    CheckoutTimedOut: _Kind(
        "database.checkout.timed_out", _ERROR, "The pool had no connection to give", _timed_out
    ),
    CommitFailed: _Kind("database.commit.failed", _ERROR, "A COMMIT failed", _ended),
    RollbackFailed: _Kind("database.rollback.failed", _ERROR, "A ROLLBACK failed", _ended),
    QueryFailed: _Kind("db.client.operation.exception", _WARN, "A query failed", _query_failed),
    SlowQueryDetected: _Kind("database.query.slow", _WARN, "A query was slow", _slow),
    QueryExplained: _Kind(
        "database.query.explained", _INFO, "The plan of a slow query", _explained
    ),
    RepeatedQueryDetected: _Kind(
        "database.query.repeated", _WARN, "One query ran many times under one span", _repeated
    ),
}

EVENT_NAMES: Final[Mapping[type[Event], str]] = {kind: told.name for kind, told in _KINDS.items()}
"""What each type is called as a log record and as an event on a span."""
