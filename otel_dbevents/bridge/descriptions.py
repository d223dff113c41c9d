"""Descriptions: what the span of an event says, in OpenTelemetry's words.

The functions are pure. They are called only for a span that somebody wants to know of.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.langfuse import cause_attributes
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedOut,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    Event,
    Failure,
    QueryExecuted,
    QueryFailed,
    RollbackFailed,
    TraceParent,
    TransactionCommitted,
    TransactionRolledBack,
)

_CLIENT: Final = SpanKind.CLIENT
_READING_NS: Final = 1_000_000
_UNKNOWN: Final = Failure("", "")
_NO_CONNECTION: Final = Failure(
    at.TIMEOUT_ERROR, at.TIMEOUT_ERROR, "no connection became free within the pool's timeout"
)


class Description(Struct, frozen=True, gc=False):
    """What a span says, but for its times."""

    name: str
    kind: SpanKind
    shared: at.Shared
    own: dict[str, at.Value]
    """What it says beyond the shared attributes."""
    failure: Failure | None = None
    links: Sequence[Link] = ()
    is_clean: bool = False
    """What it says beyond the shared are numbers, under names of ours."""

    def attributes(self) -> dict[str, at.Value]:
        """Return all attributes, in their order, as a mapping of the caller's own."""
        return {**self.shared.attributes, **self.own}


Describe: TypeAlias = Callable[[Any], Description]


def describe_query(
    event: QueryExecuted | QueryFailed, more: at.Attributes | None = None
) -> Description:
    """Describe a query's span; ``more`` is what the event does not know of it."""
    name, shared = at.query_shared(event.database, event.statement, event.batch_size != 1)
    failure = None
    if type(event) is QueryExecuted:
        own = own_attributes(event)
        if (
            event.called_from is None
            and event.attributes is None
            and more is None
            and event.llm is None
        ):
            return Description(name, _CLIENT, shared, own, None, (), True)
    else:
        own = {} if event.batch_size == 1 else {at.DB_OPERATION_BATCH_SIZE: event.batch_size}
        failure = event.failure if isinstance(event, QueryFailed) else None
    if event.called_from is not None:
        own.update(at.code_attributes(event.called_from))
    if event.attributes is not None:
        own.update(event.attributes)
    if more is not None:
        own.update(more)
    if failure is not None:
        own.update(at.failure_attributes(failure))
    if event.llm is not None:
        own.update(cause_attributes(event.llm))
    return Description(name, _CLIENT, shared, own, failure)


def own_attributes(event: QueryExecuted) -> dict[str, at.Value]:
    """Return the numbers that a query's span says beyond what all of its statement say."""
    own: dict[str, at.Value] = {}
    if event.batch_size != 1:
        own[at.DB_OPERATION_BATCH_SIZE] = event.batch_size
    if event.returned_rows >= 0:
        own[at.DB_RESPONSE_RETURNED_ROWS] = event.returned_rows
        if event.reading_ns >= _READING_NS or event.first_row_ns >= 0:
            own.update(_fetch_attributes(event))
    return own


def _commit(event: TransactionCommitted | CommitFailed) -> Description:
    return _transaction(event, "COMMIT", event.failure if isinstance(event, CommitFailed) else None)


def _rollback(event: TransactionRolledBack | RollbackFailed) -> Description:
    failure = event.failure if isinstance(event, RollbackFailed) else None
    return _transaction(event, "ROLLBACK", failure)


def _transaction(
    event: TransactionCommitted | CommitFailed | TransactionRolledBack | RollbackFailed,
    operation: str,
    failure: Failure | None,
) -> Description:
    own: dict[str, at.Value] = {
        **at.database_attributes(event.database),
        at.DB_OPERATION_NAME: operation,
        at.TRANSACTION_STATEMENTS: event.statement_count,
        at.TRANSACTION_DURATION: event.transaction_ns / 1e9,
    }
    name = at.operation_name(operation, event.database)
    return _described(event, name, SpanKind.CLIENT, own, failure)


def _connect(event: DatabaseConnectionEstablished | DatabaseConnectionFailed) -> Description:
    database, failure = at.database_of(event), None
    own = dict(at.database_attributes(database)) if database else {}
    if isinstance(event, DatabaseConnectionFailed):
        failure = event.failure or _UNKNOWN
    name = at.operation_name("CONNECT", database)
    return _described(event, name, SpanKind.CLIENT, own, failure)


def _checkout(event: ConnectionCheckedOut) -> Description:
    own = _pool_attributes(event)
    if event.create_ns:
        own[at.CONNECTION_CREATE_DURATION] = event.create_ns / 1e9
    name = at.operation_name("CHECKOUT", event.database)
    return _described(event, name, SpanKind.INTERNAL, own)


def _checkout_timeout(event: CheckoutTimedOut) -> Description:
    own = _pool_attributes(event)
    own[at.POOL_USED] = event.used
    own[at.POOL_MAX] = event.max
    name = at.operation_name("CHECKOUT", event.database)
    links = [
        Link(span_context_of(holder.parent), {at.POOL_HOLDER_HELD: holder.held_ns / 1e9})
        for holder in event.holders
        if holder.parent is not None
    ]
    return _described(event, name, SpanKind.INTERNAL, own, _NO_CONNECTION, links)


def _described(
    event: Event,
    name: str,
    kind: SpanKind,
    own: dict[str, at.Value],
    failure: Failure | None = None,
    links: Sequence[Link] = (),
) -> Description:
    if failure is not None:
        own.update(at.failure_attributes(failure))
    if event.llm is not None:
        own.update(cause_attributes(event.llm))
    return Description(name, kind, at.NOTHING_SHARED, own, failure, links)


def _fetch_attributes(event: QueryExecuted) -> dict[str, at.Value]:
    """Return how long reading took: it was a stream, or not short."""
    found: dict[str, at.Value] = {at.FETCH_DURATION: event.reading_ns / 1e9}
    if event.first_row_ns >= 0:
        found[at.FIRST_ROW] = event.first_row_ns / 1e9
    return found


def _pool_attributes(event: ConnectionCheckedOut | CheckoutTimedOut) -> dict[str, at.Value]:
    name = at.pool_name(event.database)
    return {**at.database_attributes(event.database), at.POOL_NAME: name}


def span_context_of(parent: TraceParent) -> SpanContext:
    """Return the span that ``parent`` names, as one of this process."""
    return SpanContext(
        int.from_bytes(parent.trace_id, "big"),
        int.from_bytes(parent.span_id, "big"),
        is_remote=False,
        trace_flags=TraceFlags(parent.trace_flags),
        trace_state=TraceState.from_header([parent.trace_state]) if parent.trace_state else None,
    )


DESCRIBERS: Final[Mapping[type[Event], Describe]] = {
    QueryExecuted: describe_query,
    QueryFailed: describe_query,
    TransactionCommitted: _commit,
    CommitFailed: _commit,
    TransactionRolledBack: _rollback,
    RollbackFailed: _rollback,
    DatabaseConnectionEstablished: _connect,
    DatabaseConnectionFailed: _connect,
    ConnectionCheckedOut: _checkout,
    CheckoutTimedOut: _checkout_timeout,
}
"""How the span of each type of event is described; the others have none."""
