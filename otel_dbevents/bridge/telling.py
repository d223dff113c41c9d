"""Telling: a batch of events, by all signals that there are.

Of each event its span comes first, as the number's exemplar and the log record point to it. What
one of them raises costs neither the other signals nor the other events anything.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context

from otel_dbevents.bridge.filtering import Record
from otel_dbevents.bridge.folding import Folding
from otel_dbevents.bridge.gathering import Connections, Group
from otel_dbevents.bridge.logs import EVENT_NAMES, Logs
from otel_dbevents.bridge.metrics import Metrics
from otel_dbevents.bridge.passing import Pass, opening, passing
from otel_dbevents.bridge.pointing import Place, context_of
from otel_dbevents.bridge.spans import NOWHERE, Spans, parent_context
from otel_dbevents.events import (
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    Database,
    DatabaseConnectionEstablished,
    Event,
    QueryExecuted,
)
from otel_dbevents.stacks import stack_of

Delivery: TypeAlias = tuple[Event, Any]
"""An event and the OpenTelemetry context of its call; None where it crossed a process."""
Failed: TypeAlias = Callable[[str, Event], None]
"""Takes a reason and the event that could not be told, while the error is handled."""

_NEVER_NS: Final = 2**63
_CONNECTIONS: Final = frozenset(
    {
        DatabaseConnectionEstablished,
        ConnectionCheckedOut,
        ConnectionCheckedIn,
        ConnectionClosed,
    }
)
"""What is told of every connection, and mostly says nothing out of the ordinary."""
_NOBODY: Final = object()
_UNGUARDED: Final = nullcontext()


class Telling:
    """Tells of events.

    Args:
        spans, folding, metrics, logs: what is told to; None: nothing of that signal.
        record_span: makes an event's span, if it has one; None: there are no spans. Where that is
            not the folding's or the spans' own, it is asked for each event.
        failed: takes what could not be told.
        metric_failed: called while the error of a number is handled that had waited.

    """

    def __init__(
        self,
        spans: Spans | None = None,
        folding: Folding | None = None,
        record_span: Record | None = None,
        metrics: Metrics | None = None,
        logs: Logs | None = None,
        *,
        failed: Failed,
        metric_failed: Callable[[], None],
    ) -> None:
        self._spans, self._folding, self._record_span = spans, folding, record_span
        self._metrics, self._logs = metrics, logs
        self._failed, self._metric_failed = failed, metric_failed
        own = None if spans is None else (folding or spans).record
        self._may_pass = own is not None and record_span == own

    def tell_all(self, batch: Sequence[Delivery]) -> None:
        """Tell a batch, and what had waited for its end."""
        with _UNGUARDED if self._folding is None else self._folding.lock:
            self._tell_each(batch)
        if self._metrics is not None:
            self._metrics.settle(self._metric_failed)

    def count(self, batch: Sequence[Delivery]) -> None:
        """Have the metrics count a batch, and nothing else."""
        if self._metrics is None:
            return
        for event, context in batch:
            try:
                place = parent_context(event, None) if context is None else context
                self._metrics.record(event, place or NOWHERE)
            except Exception:  # noqa: BLE001 - the next event must not suffer
                self._failed("metric_error", event)
        self._metrics.settle(self._metric_failed)

    def _tell_each(self, batch: Sequence[Delivery]) -> None:
        """Tell each event; queries, which are nearly all, here, as a call for each is dear."""
        record_span, metrics = self._record_span, self._metrics
        queries = metrics and metrics.queries()
        statement = database = size = calls = parent = latest = None
        above, pass_on, may_pass = NOWHERE, None, self._may_pass
        long_way: Any = _NOBODY
        connections = self._connections()
        event: Any
        for event, context in batch:
            kind = type(event)
            if kind is not QueryExecuted:
                if kind in _CONNECTIONS and connections.tell(kind, event, context):
                    continue
                self._tell(event, context)
                pass_on = None
                connections.look()
                continue
            latest = event
            if pass_on is None and may_pass and event.parent is not long_way:
                # what was done else may have changed it
                pass_on = self._passing()
                may_pass = pass_on is not None
            if context is None:
                if event.parent is not parent:  # those of one parent come together
                    parent, above = event.parent, parent_context(event, None)
                context = above  # noqa: PLW2901 - which it has not, as it crossed a process
            place: Place = context
            try:
                told = pass_on and event.parent is not long_way and pass_on(event, context)
                if told:
                    place = told
                elif record_span is not None:
                    pass_on = None
                    # A burst, mostly: the others under this span in the batch need not be asked.
                    long_way = event.parent or _NOBODY
                    place = record_span(event, context)
            except Exception:  # noqa: BLE001 - a processor or sampler of anybody's may raise anything
                self._failed("span_error", event)
            try:
                if (
                    event.statement is not statement
                    or event.database is not database
                    or event.batch_size != size
                ):
                    calls = queries and queries.of(event)
                    statement, database, size = event.statement, event.database, event.batch_size
                if calls:
                    calls[0].append(event)
                    calls[1].append(place or NOWHERE)
                elif metrics is not None:
                    metrics.record(event, place or NOWHERE)
            except Exception:  # noqa: BLE001 - the next event and signal must not suffer
                self._failed("metric_error", event)
        if self._folding is not None and latest is not None:
            self._folding.passed(latest)
        if queries is not None:
            queries.settle(self._metric_failed)
        connections.settle(self._metric_failed)

    def _connections(self) -> "_Connections":
        numbers = None if self._metrics is None else self._metrics.connections()
        return _Connections(self._spans, self._logs, numbers, self._failed)

    def _passing(self) -> Pass | None:
        return None if self._spans is None else passing(self._spans, self._folding)

    def _tell(self, event: Event, captured: Context | None) -> None:
        """Make the span first: the other two point to it."""
        place: Place | None = captured
        try:
            place = context = parent_context(event, None) if captured is None else captured
            if self._record_span is not None:
                place = self._record_span(event, context)
        except Exception:  # noqa: BLE001 - a processor or sampler of anybody's may raise anything
            self._failed("span_error", event)
        place = place or NOWHERE
        try:
            if self._metrics is not None:
                self._metrics.record(event, place)
        except Exception:  # noqa: BLE001 - the next event and signal must not suffer
            self._failed("metric_error", event)
        try:
            if self._logs is not None and type(event) in EVENT_NAMES:
                self._logs.record(event, context_of(place), stack_of(captured))
        except Exception:  # noqa: BLE001 - the next event must not suffer
            self._failed("log_error", event)


class _Connections:
    """Tells of a batch's connections, as far as they are as most are."""

    def __init__(
        self,
        spans: Spans | None,
        logs: Logs | None,
        numbers: Connections | None,
        failed: Failed,
    ) -> None:
        self._spans, self._logs, self._numbers = spans, logs, numbers
        self._failed = failed
        self._database: Database | None = None
        self._group: Group = {}
        self._wait_ns = _NEVER_NS if spans is None else spans.wait_span_ns
        self.look()

    def look(self) -> None:
        """Look anew how spans are made: something else was done with them."""
        self._open: Pass | None = None
        self._may_open = self._spans is not None

    def tell(self, kind: type[Event], event: Any, captured: Context | None) -> bool:
        """Tell of one; False where it is one for the long way, and nothing was done."""
        if event.llm is not None:
            return False
        if kind is ConnectionClosed:  # of which there is nothing to tell
            return True
        context = parent_context(event, None) if captured is None else captured
        place: Place = context or NOWHERE
        if kind is DatabaseConnectionEstablished:
            opened = self._opened(event, context)
            if opened is None:
                return False
            place = opened
        elif kind is ConnectionCheckedOut and event.duration_ns - event.create_ns >= self._wait_ns:
            return False
        try:
            if self._numbers is not None:
                if event.database is not self._database:
                    self._database = event.database
                    self._group = self._numbers.of(event.database)
                numbers, places = self._group[kind]
                numbers.append(event.duration_ns / 1e9)
                places.append(place)
                if kind is DatabaseConnectionEstablished:
                    self._numbers.established(event, place)
        except Exception:  # noqa: BLE001 - the next event must not suffer
            self._failed("metric_error", event)
        if self._logs is not None and kind in EVENT_NAMES:
            try:
                self._logs.record(event, context_of(place), stack_of(captured))
            except Exception:  # noqa: BLE001 - the next event must not suffer
                self._failed("log_error", event)
        return True

    def settle(self, failed: Callable[[], None]) -> None:
        """Record the numbers. ``failed`` is called as an error is handled."""
        if self._numbers is not None:
            self._numbers.settle(failed)

    def _opened(self, event: DatabaseConnectionEstablished, context: Context) -> Place | None:
        """Make the span; return what points to it, None where nothing was done."""
        if event.database is None or event.duration_ns < 0:
            return None
        if self._spans is None:
            return context or NOWHERE
        if self._open is None and self._may_open:
            self._open = opening(self._spans)
            self._may_open = self._open is not None
        return None if self._open is None else self._open(event, context)
