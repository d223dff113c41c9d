"""Filtering: which statements have a span, as the application sees it.

In: every event, on its way to the spans. Queries that the application's filter does not want go no
further; all else does. Metrics, log records and judgements are not asked about.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from opentelemetry.context import Context

from otel_dbevents.bridge.pointing import Place
from otel_dbevents.events import (
    Event,
    QueryExecuted,
    QueryExplained,
    QueryFailed,
    SlowQueryDetected,
)
from otel_dbevents.forks import in_child

SpanFilter: TypeAlias = Callable[[QueryExecuted | QueryFailed], bool]
"""Whether a query has a span. Called on the bridge's worker, once for each query."""
Record: TypeAlias = Callable[[Event, Context], Place]
"""Makes an event's span; returns what points to it, or to what there is instead."""

_MOST_DROPPED: Final = 1_000


class Filtering:
    """Stands before whatever makes the spans, and asks the application's filter.

    Args:
        record: makes the spans.
        wants: the filter. Where it raises, or returns what is no truth value, the span is made.
        slow_ns: of queries that took as long it is kept in mind that they have no span: judgements
            about them point to the span above. 0: there are no such judgements.
        failed: takes the event, while the filter's error is handled.

    """

    def __init__(
        self,
        record: Record,
        wants: SpanFilter,
        *,
        slow_ns: int,
        failed: Callable[[Event], None],
    ) -> None:
        self._record = record
        self._wants = wants
        self._slow_ns = slow_ns
        self._failed = failed
        self._dropped: deque[bytes] = deque(maxlen=_MOST_DROPPED)
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()

    def record(self, event: Event, context: Context) -> Place:
        """Make the event's span if it is wanted; else return ``context``, as there is no other."""
        kind = type(event)
        if kind is QueryExecuted or kind is QueryFailed:
            query: QueryExecuted | QueryFailed = event  # type: ignore[assignment]
            if not self._is_wanted(query):
                self._drop(query)
                return context
        elif isinstance(event, SlowQueryDetected | QueryExplained):
            with self._lock:
                if event.query_id in self._dropped:
                    return context
        return self._record(event, context)

    def _is_wanted(self, event: QueryExecuted | QueryFailed) -> bool:
        try:
            wanted = self._wants(event)
            if not isinstance(wanted, bool):
                raise TypeError(f"span_filter returns True or False, not {type(wanted).__name__}")
        except Exception:  # noqa: BLE001 - rather a span too many than one that is missed
            self._failed(event)
            return True
        return wanted

    def _drop(self, event: QueryExecuted | QueryFailed) -> None:
        if self._slow_ns and event.spent_ns >= self._slow_ns:
            with self._lock:
                self._dropped.append(event.id)
