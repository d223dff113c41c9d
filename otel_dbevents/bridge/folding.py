"""Folding: what one fast query does a thousand times under one span is a few spans.

In: every event, on its way to `Spans`. The first runs of a statement under a span of the
application go through as they are. The ones that follow are held back while the burst lasts, and
told as one span that says how many there were and how long they took.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeAlias, TypeGuard

from opentelemetry.context import Context

from otel_dbevents.bridge.fold import Fold
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.spans import Spans
from otel_dbevents.events import Event, QueryExecuted, QueryFailed, TraceParent
from otel_dbevents.forks import in_child

_Key: TypeAlias = tuple[bytes, bytes, str, str, str]
"""Trace and span, pool and database, and the statement's text: what makes runs one burst."""
_Query: TypeAlias = QueryExecuted | QueryFailed

_QUIET_NS: Final = 1_000_000_000
_LONGEST_NS: Final = 10_000_000_000
_OPEN_BURSTS: Final = 1_000


class Folding:
    """Stands before `Spans` and folds bursts.

    Args:
        spans: makes the spans.
        after: so many runs of a burst have spans of their own.
        fast_ns: a query that took as long, its fetches included, is told by itself.
        failed: takes an event and how many queries it stands for, when an error keeps their span
            from being made; called while the error is handled.

    A burst is what one statement does under one sampled span on one database without a pause of a
    second. Folded are single queries that went well and were fast; whatever else comes goes
    through as it is, and ends the fold of its own statement, so that what came before and after
    can be told apart. A fold ends also when its span does, after a second without a run, and when
    it is ten seconds long. A fold of one query is that query's span.

    Safe to be used by many threads. At most 1,000 bursts are kept in mind; the oldest is told
    first. What a forked process held is the parent's to tell.

    """

    def __init__(
        self,
        spans: Spans,
        *,
        after: int,
        fast_ns: int,
        failed: Callable[[Event, int], None],
    ) -> None:
        self._spans = spans
        self._after = after
        self._fast_ns = fast_ns
        self._failed = failed
        self._begin_anew()
        in_child(self._begin_anew)

    def record(self, event: Event, context: Context) -> Place:
        """Make the event's span, or hold it back; return what points to it.

        For a query that is held back that is ``context``: there is no span of its own to point to,
        but the one that it ran under.
        """
        kind = type(event)
        if kind is QueryExecuted or kind is QueryFailed:
            query: _Query = event  # type: ignore[assignment]
            parent = query.parent
            if (
                parent is not None
                and parent.trace_flags & 1
                and (kind is QueryFailed or not self._spans.is_short(query))
                and self._hold(query, parent, context)
            ):
                return context
        return self._spans.record(event, context)

    def settle_ended(self) -> None:
        """Tell of the folds whose burst is over. Called between batches."""
        if not self._folds:
            return
        with self._lock:
            now = monotonic()
            for key, fold in list(self._folds.items()):
                if fold.is_over(now):
                    self._tell(key)

    def settle(self, timeout: float = -1) -> bool:
        """Tell of all folds, as if their bursts were over; what follows is counted on.

        False when another thread took longer than ``timeout`` seconds (-1: for ever) to tell.
        """
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            for key in list(self._folds):
                self._tell(key)
        finally:
            self._lock.release()
        return True

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock.

        The lock may be taken again by its holder: a span processor may flush.
        """
        self._lock = threading.RLock()
        self._bursts: OrderedDict[_Key, _Burst] = OrderedDict()
        self._folds: dict[_Key, Fold] = {}

    def _hold(self, event: _Query, parent: TraceParent, context: Context) -> bool:
        """Count a run; True where it is held back."""
        database, end_ns = event.database, event.end_time_ns
        key = (
            parent.trace_id,
            parent.span_id,
            database.pool_name,
            database.namespace,
            event.statement.query_text,
        )
        with self._lock:
            burst = self._bursts.get(key)
            if burst is None or burst.end_ns + _QUIET_NS <= end_ns - event.duration_ns:
                burst = self._begin(key)
            else:
                self._bursts.move_to_end(key)
            burst.runs += 1
            if end_ns > burst.end_ns:
                burst.end_ns = end_ns
            if burst.runs > self._after and self._is_foldable(event):
                self._fold(key, event, context)
                return True
            if key in self._folds:
                self._tell(key)
            return False

    def _begin(self, key: _Key) -> "_Burst":
        """Begin a burst; end the one before it, and the oldest where there are too many."""
        self._tell(key)
        burst = self._bursts[key] = _Burst()
        self._bursts.move_to_end(key)
        if len(self._bursts) > _OPEN_BURSTS:
            oldest = next(iter(self._bursts))
            self._tell(oldest)
            self._bursts.pop(oldest, None)
        return burst

    def _is_foldable(self, event: _Query) -> TypeGuard[QueryExecuted]:
        return (
            type(event) is QueryExecuted
            and event.duration_ns + event.reading_ns < self._fast_ns
            and event.batch_size == 1
            and event.first_row_ns < 0
            and not event.propagated
        )

    def _fold(self, key: _Key, event: QueryExecuted, context: Context) -> None:
        fold = self._folds.get(key)
        if fold is not None and not fold.takes(event, context):
            self._tell(key)
            fold = None
        if fold is None:
            fold = self._folds[key] = Fold(event, context)
        else:
            fold.add(event)
        if fold.end_ns - fold.start_ns >= _LONGEST_NS:
            self._tell(key)

    def _tell(self, key: _Key) -> None:
        fold = self._folds.pop(key, None)
        if fold is None:
            return
        try:
            if fold.count == 1:
                self._spans.record(fold.first, fold.context)
            else:
                self._spans.record_folded(fold.whole(), fold.context, fold.attributes())
        except Exception:  # noqa: BLE001 - a processor or sampler of anybody's may raise anything
            self._failed(fold.first, fold.count)


class _Burst:
    """How often a statement ran so far, and until when."""

    __slots__ = ("end_ns", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.end_ns = 0
