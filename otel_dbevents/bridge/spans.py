"""Spans: a finished span out of an event's own times, ids and captured context.

From outside such a span cannot be told from one made by ``tracer.start_span`` at the time: its
parent, sampler, limits, resource, scope and processors are the provider's. `Spans._make` is the
only place where one comes into being.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.ids import take_ids
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedOut,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    Event,
    Failure,
    QueryExecuted,
    QueryExplained,
    QueryFailed,
    RollbackFailed,
    SlowQueryDetected,
    TraceParent,
    TransactionCommitted,
    TransactionRolledBack,
    span_id_of,
    trace_id_of,
)

NOWHERE: Final = set_span_in_context(INVALID_SPAN, Context())
"""A context without a span. Not empty: the SDK takes an empty one for the current one."""

_READING_NS: Final = 1_000_000
_UNKNOWN: Final = Failure("", "")
_NO_CONNECTION: Final = Failure(
    at.TIMEOUT_ERROR, at.TIMEOUT_ERROR, "no connection became free within the pool's timeout"
)


def parent_context(event: Event, context: Context | None) -> Context:
    """Return the captured context; where there is none, one that holds ``event.parent``."""
    if context is not None:
        return context
    return NOWHERE if event.parent is None else _context_of(event.parent)


class Spans:
    """Makes the spans. ``min_duration_ns`` and ``require_parent`` drop spans and nothing else.

    ``min_duration_ns``: calls that took less have no span, unless they failed or took at least
    ``slow_query_ns`` (0: no exception for slow ones). ``require_parent``: nothing that would be a
    trace of its own.
    ``wait_span_ns``: a checkout has a span when its wait, without opening a connection, is as long.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider,
        *,
        min_duration_ns: int = 0,
        require_parent: bool = False,
        slow_query_ns: int = 500_000_000,
        wait_span_ns: int = 1_000_000,
    ) -> None:
        self._tracer = tracer_provider.get_tracer(at.SCOPE, at.VERSION, at.SCHEMA_URL)
        self._ids = take_ids(self._tracer)
        self._least_ns = min(min_duration_ns, slow_query_ns or min_duration_ns)
        self._require_parent = require_parent
        self._wait_span_ns = wait_span_ns
        self._recorders: dict[type[Event], Callable[[Any, Context], Context]] = {
            QueryExecuted: self._query,
            QueryFailed: self._query,
            TransactionCommitted: self._commit,
            CommitFailed: self._commit,
            TransactionRolledBack: self._rollback,
            RollbackFailed: self._rollback,
            DatabaseConnectionEstablished: self._connect,
            DatabaseConnectionFailed: self._connect,
            ConnectionCheckedOut: self._checkout,
            CheckoutTimedOut: self._checkout_timeout,
            SlowQueryDetected: self._judged_query,
            QueryExplained: self._judged_query,
        }

    @property
    def has_own_ids(self) -> bool:
        """Whether a span's ids are its event's; the provider may have a generator of its own."""
        return self._ids is not None

    def record(self, event: Event, context: Context) -> Context:
        """Make the event's span, if it has one, and return a context that holds it.

        Where no span is made that is ``context``. What is returned is meant for the event's log
        record and exemplars.
        """
        recorder = self._recorders.get(type(event))
        return context if recorder is None else recorder(event, context)

    def record_folded(
        self, whole: QueryExecuted, context: Context, attributes: at.Attributes
    ) -> Context:
        """Make one span for many queries, which ``whole`` is the sum of; ``attributes`` say so."""
        return self._query(whole, context, attributes)

    def is_short(self, event: Any) -> bool:
        """Whether ``min_duration_ns`` drops the span of a call that went well."""
        if isinstance(event, QueryExecuted):
            return event.spent_ns < self._least_ns
        return bool(event.duration_ns < self._least_ns)

    def _query(
        self,
        event: QueryExecuted | QueryFailed,
        context: Context,
        more: at.Attributes | None = None,
    ) -> Context:
        about = event.database, event.statement, event.batch_size != 1
        attributes = dict(at.query_attributes(*about))
        if event.batch_size != 1:
            attributes[at.DB_OPERATION_BATCH_SIZE] = event.batch_size
        failure = None
        if isinstance(event, QueryFailed):
            failure = event.failure
        elif event.returned_rows >= 0:
            attributes[at.DB_RESPONSE_RETURNED_ROWS] = event.returned_rows
            attributes.update(_fetch_attributes(event))
        if event.called_from is not None:
            attributes.update(at.code_attributes(event.called_from))
        if event.attributes is not None:
            attributes.update(event.attributes)
        if more is not None:
            attributes.update(more)
        return self._client(event, context, at.query_name(*about), attributes, failure)

    def _commit(self, event: TransactionCommitted | CommitFailed, context: Context) -> Context:
        failure = event.failure if isinstance(event, CommitFailed) else None
        return self._transaction(event, context, "COMMIT", failure)

    def _rollback(self, event: TransactionRolledBack | RollbackFailed, context: Context) -> Context:
        failure = event.failure if isinstance(event, RollbackFailed) else None
        return self._transaction(event, context, "ROLLBACK", failure)

    def _transaction(
        self,
        event: TransactionCommitted | CommitFailed | TransactionRolledBack | RollbackFailed,
        context: Context,
        operation: str,
        failure: Failure | None,
    ) -> Context:
        if event.duration_ns < 0:  # it was part of a batch, or implied by a close
            return context
        attributes = {
            **at.database_attributes(event.database),
            at.DB_OPERATION_NAME: operation,
            at.TRANSACTION_STATEMENTS: event.statement_count,
            at.TRANSACTION_DURATION: event.transaction_ns / 1e9,
        }
        name = at.operation_name(operation, event.database)
        return self._client(event, context, name, attributes, failure)

    def _connect(
        self, event: DatabaseConnectionEstablished | DatabaseConnectionFailed, context: Context
    ) -> Context:
        if event.duration_ns < 0:
            return context
        database = at.database_of(event)
        attributes = dict(at.database_attributes(database)) if database else {}
        failure = None
        if isinstance(event, DatabaseConnectionFailed):
            failure = event.failure or _UNKNOWN
        name = at.operation_name("CONNECT", database)
        return self._client(event, context, name, attributes, failure)

    def _client(
        self,
        event: Any,
        context: Context,
        name: str,
        attributes: dict[str, at.Value],
        failure: Failure | None,
    ) -> Context:
        if failure is None and self.is_short(event):
            return context
        return self._make(event, context, name, SpanKind.CLIENT, attributes, failure)

    def _checkout(self, event: ConnectionCheckedOut, context: Context) -> Context:
        if event.duration_ns - event.create_ns < self._wait_span_ns:
            return context
        attributes = _pool_attributes(event)
        if event.create_ns:
            attributes[at.CONNECTION_CREATE_DURATION] = event.create_ns / 1e9
        name = at.operation_name("CHECKOUT", event.database)
        return self._make(event, context, name, SpanKind.INTERNAL, attributes)

    def _checkout_timeout(self, event: CheckoutTimedOut, context: Context) -> Context:
        attributes = _pool_attributes(event)
        attributes[at.POOL_USED] = event.used
        attributes[at.POOL_MAX] = event.max
        name = at.operation_name("CHECKOUT", event.database)
        links = [
            Link(_span_context(holder.parent), {at.POOL_HOLDER_HELD: holder.held_ns / 1e9})
            for holder in event.holders
            if holder.parent is not None
        ]
        kind = SpanKind.INTERNAL
        return self._make(event, context, name, kind, attributes, _NO_CONNECTION, links)

    def _judged_query(self, event: SlowQueryDetected | QueryExplained, context: Context) -> Context:
        """Return a context that points to the slow query's own span, which was made before."""
        parent = get_current_span(context).get_span_context()
        if self._ids is None or not (parent.is_valid or not self._require_parent):
            return context
        trace_id = parent.trace_id if parent.is_valid else trace_id_of(event.query_id)
        found = SpanContext(trace_id, span_id_of(event.query_id), False, parent.trace_flags)
        return set_span_in_context(NonRecordingSpan(found), context)

    def _make(
        self,
        event: Any,
        context: Context,
        name: str,
        kind: SpanKind,
        attributes: dict[str, at.Value],
        failure: Failure | None = None,
        links: Sequence[Link] = (),
    ) -> Context:
        """Start and end one span: all that is known of it is there when the sampler is asked."""
        if self._require_parent and not get_current_span(context).get_span_context().is_valid:
            return context
        if failure is not None:
            attributes.update(at.failure_attributes(failure))
        end_ns: int = event.end_time_ns
        if self._ids is not None:
            self._ids.use(event.id)
        try:
            start_ns = end_ns - event.duration_ns
            span = self._tracer.start_span(name, context, kind, attributes, links, start_ns)
        finally:  # a tracer that is switched off takes no id: leave none behind
            if self._ids is not None:
                self._ids.use(b"")
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR, failure.description or None))
        span.end(end_ns)
        return set_span_in_context(span, context)


def _fetch_attributes(event: QueryExecuted) -> dict[str, at.Value]:
    """Return how long reading took, where that is worth telling: it was a stream, or not short."""
    found: dict[str, at.Value] = {}
    if event.reading_ns >= _READING_NS or event.first_row_ns >= 0:
        found[at.FETCH_DURATION] = event.reading_ns / 1e9
    if event.first_row_ns >= 0:
        found[at.FIRST_ROW] = event.first_row_ns / 1e9
    return found


def _pool_attributes(event: ConnectionCheckedOut | CheckoutTimedOut) -> dict[str, at.Value]:
    name = at.pool_name(event.database)
    return {**at.database_attributes(event.database), at.POOL_NAME: name}


def _span_context(parent: TraceParent) -> SpanContext:
    return SpanContext(
        int.from_bytes(parent.trace_id, "big"),
        int.from_bytes(parent.span_id, "big"),
        is_remote=False,
        trace_flags=TraceFlags(parent.trace_flags),
        trace_state=TraceState.from_header([parent.trace_state]) if parent.trace_state else None,
    )


@lru_cache(maxsize=256)
def _context_of(parent: TraceParent) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(parent)), Context())
