"""The facts: what the database did, as small frozen values.

Every event carries values only: never a connection, cursor, engine or exception object, and never
a secret (no URL, user name, parameter value or driver message). Three of them have constructors
that are promised to users (`DatabaseConnectionEstablished`, `DatabaseConnectionFailed`,
`DatabaseHealthCheckCompleted`); the others are made by the sources and by the judges.

Fields with a semantic convention carry its name without ``db.`` (``query_text``, ``namespace``,
``server_address``, ``error_type``). Times are nanoseconds since the Unix epoch, UTC.
"""

from typing import Final, TypeAlias, get_args

from otel_dbevents.events.event import Event, Fact, TimeNs
from otel_dbevents.events.facts import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    ConnectionInvalidated,
    QueryExecuted,
    QueryExplained,
    QueryFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.events.ids import (
    Id,
    SpanId,
    joined_ids,
    new_id,
    new_ids,
    span_id_of,
    trace_id_of,
)
from otel_dbevents.events.judgements import (
    DatabaseRecovered,
    RepeatedQueryDetected,
    SlowQueryDetected,
)
from otel_dbevents.events.kinds import DatabaseType, Environment, HealthStatus
from otel_dbevents.events.promised import (
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
)
from otel_dbevents.events.values import (
    CodeLocation,
    Database,
    Failure,
    Flags,
    Holder,
    LlmContext,
    PoolReading,
    Statement,
    TraceParent,
)
from otel_dbevents.redaction import redact

__all__ = [
    "EVENT_TYPES",
    "AnyEvent",
    "CheckoutTimedOut",
    "CodeLocation",
    "CommitFailed",
    "ConnectionCheckedIn",
    "ConnectionCheckedOut",
    "ConnectionClosed",
    "ConnectionInvalidated",
    "Database",
    "DatabaseConnectionEstablished",
    "DatabaseConnectionFailed",
    "DatabaseHealthCheckCompleted",
    "DatabaseRecovered",
    "DatabaseType",
    "Environment",
    "Event",
    "Fact",
    "Failure",
    "Flags",
    "HealthStatus",
    "Holder",
    "Id",
    "LlmContext",
    "PoolReading",
    "QueryExecuted",
    "QueryExplained",
    "QueryFailed",
    "RepeatedQueryDetected",
    "RollbackFailed",
    "SlowQueryDetected",
    "SpanId",
    "Statement",
    "TimeNs",
    "TraceParent",
    "TransactionCommitted",
    "TransactionReleased",
    "TransactionRolledBack",
    "joined_ids",
    "new_id",
    "new_ids",
    "redact",
    "span_id_of",
    "trace_id_of",
]

AnyEvent: TypeAlias = (
    QueryExecuted
    | QueryFailed
    | TransactionCommitted
    | TransactionRolledBack
    | TransactionReleased
    | CommitFailed
    | RollbackFailed
    | ConnectionCheckedOut
    | ConnectionCheckedIn
    | ConnectionInvalidated
    | ConnectionClosed
    | CheckoutTimedOut
    | SlowQueryDetected
    | QueryExplained
    | RepeatedQueryDetected
    | DatabaseRecovered
    | DatabaseConnectionEstablished
    | DatabaseConnectionFailed
    | DatabaseHealthCheckCompleted
)
"""Every event there is: what a decoder may meet."""

EVENT_TYPES: Final[tuple[type[Event], ...]] = get_args(AnyEvent)
"""The same, one by one."""
