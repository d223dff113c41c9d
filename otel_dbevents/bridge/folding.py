"""Folding: what one fast query does a thousand times under one span is a few spans.

In: every event, on its way to `Spans`. The first runs of a statement under a span of the
application go through as they are. The ones that follow are held back while the burst lasts, and
told as one span that says how many there were and how long they took.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeAlias, TypeGuard

from opentelemetry.context import Context

from otel_dbevents.bridge.fold import Fold
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.spans import Spans
from otel_dbevents.bursts import Burst, Bursts
from otel_dbevents.events import Event, QueryExecuted, QueryFailed, TraceParent
from otel_dbevents.forks import in_child

_Query: TypeAlias = QueryExecuted | QueryFailed

_LONGEST_NS: Final = 10_000_000_000
_ANY: Final = 2**63


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

    Safe to be used by many threads: whoever records holds `lock`, for as many events as he likes.
    The latest 2,000 runs are kept in mind; the folds of bursts that are forgotten are told then.
    What a forked process held is the parent's to tell.

    """

    _latest: _Query | None
    """The latest query, until it is settled."""

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
        self._tells_short = spans.tells_short
        self._failed = failed
        self._begin_anew()
        in_child(self._begin_anew)

    def record(self, event: Event, context: Context) -> Place:
        """Make the event's span, or hold it back; return what points to it.

        For a query that is held back that is ``context``: there is no span of its own to point to,
        but the one that it ran under. Called while `lock` is held.
        """
        kind = type(event)
        if kind is QueryExecuted or kind is QueryFailed:
            query: _Query = event  # type: ignore[assignment]
            parent = query.parent
            if (
                parent is not None
                and parent.trace_flags & 1
                and (kind is QueryFailed or self._tells_short or not self._spans.is_short(query))
            ):
                burst = self._bursts.add(query)
                self._latest = query
                if burst is not None and self._hold(query, burst, context):
                    return context
        return self._spans.record(event, context)

    def room(self, parent: TraceParent | None) -> tuple[int, list[_Query] | None]:
        """Return how many queries under ``parent`` are not folded, whatever they are.

        With it comes where they are to be put, before they are passed by here; None: nowhere. As
        long as nothing else is done here; called while `lock` is held, and `passed` after it.
        """
        if not self._tells_short:
            return 0, None
        if parent is None or not parent.trace_flags & 1:
            return _ANY, None
        return self._bursts.room(parent)

    def passed(self, latest: _Query) -> None:
        """Take note of the latest query that was put where `room` said."""
        self._latest = latest

    def settle_ended(self, number: int) -> None:
        """Tell of the folds whose burst is over. Called after a batch of so many events."""
        if self._latest is None and not self._folds:
            return
        with self.lock:
            latest, self._latest = self._latest, None
            if latest is not None:
                self._bursts.settle(number, latest.end_time_ns)
            now = monotonic()
            for burst, fold in list(self._folds.items()):
                if fold.is_over(now):
                    self._tell(burst)

    def settle(self, timeout: float = -1) -> bool:
        """Tell of all folds, as if their bursts were over; what follows is counted on.

        False when another thread took longer than ``timeout`` seconds (-1: for ever) to tell.
        """
        if not self.lock.acquire(timeout=timeout):
            return False
        try:
            for burst in list(self._folds):
                self._tell(burst)
        finally:
            self.lock.release()
        return True

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock.

        The lock may be taken again by its holder: a span processor may flush.
        """
        self.lock = threading.RLock()
        self._bursts = Bursts(self._after + 1, self._tell)
        self._latest = None
        self._folds: dict[Burst, Fold] = {}

    def _hold(self, event: _Query, burst: Burst, context: Context) -> bool:
        """Hold a run back, where it folds; else tell of those before it."""
        if burst.count > self._after and self._is_foldable(event):
            self._fold(burst, event, context)
            return True
        if burst in self._folds:
            self._tell(burst)
        return False

    def _is_foldable(self, event: _Query) -> TypeGuard[QueryExecuted]:
        return (
            type(event) is QueryExecuted
            and event.duration_ns + event.reading_ns < self._fast_ns
            and event.batch_size == 1
            and event.first_row_ns < 0
            and not event.propagated
        )

    def _fold(self, burst: Burst, event: QueryExecuted, context: Context) -> None:
        fold = self._folds.get(burst)
        if fold is not None and not fold.takes(event, context):
            self._tell(burst)
            fold = None
        if fold is None:
            fold = self._folds[burst] = Fold(event, context)
        else:
            fold.add(event)
        if fold.end_ns - fold.start_ns >= _LONGEST_NS:
            self._tell(burst)

    def _tell(self, burst: Burst) -> None:
        fold = self._folds.pop(burst, None)
        if fold is None:
            return
        try:
            if fold.count == 1:
                self._spans.record(fold.first, fold.context)
            else:
                self._spans.record_folded(fold.whole(), fold.context, fold.attributes())
        except Exception:  # noqa: BLE001 - a processor or sampler of anybody's may raise anything
            self._failed(fold.first, fold.count)
