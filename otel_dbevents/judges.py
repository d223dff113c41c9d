"""Judges: what the facts amount to: a slow query, a statement in a loop, a database that is back.

In: batches from the bus. Out: judgements, published to the bus with the context of the fact.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, Final, TypeAlias

from otel_dbevents.events import (
    CodeLocation,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseRecovered,
    Event,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
    SlowQueryDetected,
    TraceParent,
)
from otel_dbevents.forks import in_child

Publish: TypeAlias = Callable[[Event, Any], None]
_Query: TypeAlias = QueryExecuted | QueryFailed
_Key: TypeAlias = tuple[bytes, bytes, str, str, str]
"""Trace and span, pool and database, and the statement's text: what makes runs one burst."""

_QUIET_NS: Final = 1_000_000_000
_OPEN_BURSTS: Final = 1_000
_OPEN_OUTAGES: Final = 1_000


class Judges:
    """Makes `SlowQueryDetected`, `RepeatedQueryDetected` and `DatabaseRecovered`.

    Args:
        publish: takes a judgement with the context of the fact that it is about.
        slow_query_ns: from this duration on a query is slow, executed or failed; 0 turns it off.
        repeated_queries: so many runs of one statement under one span are a burst; 0 turns it off.

    A query's time is that of the driver's call and of its fetches. The runs that say where in the
    application they came from are those that were slow or made the burst: what they say is passed
    on.

    A burst is of one statement under one span on one database. It is told once, when it has ended:
    no run for a second, as later queries or `settle_quiet` tell, or `settle`. What ran in the
    parent process of a fork is the parent's to judge. At most 1,000 bursts and 1,000 outages are
    kept in mind.

    """

    types: tuple[type[Event], ...] = (
        QueryExecuted,
        QueryFailed,
        DatabaseConnectionEstablished,
        DatabaseConnectionFailed,
    )
    """The facts that are judged."""

    def __init__(
        self,
        publish: Publish,
        *,
        slow_query_ns: int = 500_000_000,
        repeated_queries: int = 10,
    ) -> None:
        self._publish = publish
        self._slow_ns = slow_query_ns
        self._repeated = repeated_queries
        self._begin_anew()
        in_child(self._begin_anew)

    def consume(self, batch: Sequence[tuple[Event, Any]]) -> None:
        """Judge a batch of facts."""
        slow_ns, queries = self._slow_ns, []
        for event, context in batch:
            kind = type(event)
            if kind is QueryExecuted or kind is QueryFailed:
                query: _Query = event  # type: ignore[assignment]
                if slow_ns and query.spent_ns >= slow_ns:
                    self._publish(self._slow(query), context)
                queries.append((query, context))
            elif isinstance(event, DatabaseConnectionFailed):
                self._note_failure(event)
            elif isinstance(event, DatabaseConnectionEstablished):
                self._judge_recovery(event, context)
        if queries and self._repeated:
            self._judge_repetition(queries)

    def settle_quiet(self) -> None:
        """Tell of the bursts that had no run for a second. Called when nothing comes."""
        with self._lock:
            ended = self._ended(time_ns())
        for burst in ended:
            self._tell(burst)

    def settle(self) -> None:
        """Tell of the bursts that are open, as if they had ended."""
        with self._lock:
            open_bursts = list(self._bursts.values())
            self._bursts.clear()
        for burst in open_bursts:
            self._tell(burst)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock."""
        self._bursts: OrderedDict[_Key, _Burst] = OrderedDict()
        self._outages: OrderedDict[str, _Outage] = OrderedDict()
        self._lock = threading.Lock()

    def _slow(self, event: _Query) -> SlowQueryDetected:
        return SlowQueryDetected(
            event.database,
            event.parent,
            event.end_time_ns,
            event.spent_ns,
            self._slow_ns,
            event.statement,
            event.id,
            event.called_from,
            llm=event.llm,
        )

    def _judge_repetition(self, queries: Sequence[tuple[_Query, Any]]) -> None:
        """Count the runs that have a parent; tell of the bursts that are over by the last.

        One lock and one look for what is quiet serve the whole batch: each query comes here.
        """
        ended: list[_Burst] = []
        with self._lock:
            bursts, latest_ns = self._bursts, 0
            for event, context in queries:
                parent = event.parent
                if parent is None:
                    continue
                database, statement, end_ns = event.database, event.statement, event.end_time_ns
                key = (
                    parent.trace_id,
                    parent.span_id,
                    database.pool_name,
                    database.namespace,
                    statement.query_text,
                )
                burst = bursts.get(key)
                # A run that began a second after the last one is of another burst.
                if burst is None or burst.end_time_ns + _QUIET_NS <= end_ns - event.duration_ns:
                    if burst is not None:
                        ended.append(bursts.pop(key))
                    burst = bursts[key] = _Burst(event, parent, context)
                    if len(bursts) > _OPEN_BURSTS:
                        ended.append(bursts.popitem(last=False)[1])
                else:
                    bursts.move_to_end(key)
                burst.count += 1
                burst.duration_ns += event.spent_ns
                if end_ns > burst.end_time_ns:
                    burst.end_time_ns = end_ns
                if end_ns > latest_ns:
                    latest_ns = end_ns
                if event.advice or event.called_from is not None:
                    burst.note(event)
            ended += self._ended(latest_ns)
        for each in ended:
            self._tell(each)

    def _ended(self, now_ns: int) -> list["_Burst"]:
        """Take out the bursts that are quiet."""
        ended = []
        while self._bursts:
            oldest = next(iter(self._bursts.values()))
            if oldest.end_time_ns + _QUIET_NS > now_ns:
                break
            ended.append(self._bursts.popitem(last=False)[1])
        return ended

    def _tell(self, burst: "_Burst") -> None:
        if burst.count < self._repeated:
            return
        repeated = RepeatedQueryDetected(
            burst.database,
            burst.parent,
            burst.end_time_ns,
            burst.duration_ns,
            burst.count,
            burst.statement,
            burst.called_from,
            burst.advice,
            llm=burst.llm,
        )
        self._publish(repeated, burst.context)

    def _note_failure(self, event: DatabaseConnectionFailed) -> None:
        began_ns = event.end_time_ns - max(0, event.duration_ns)
        with self._lock:
            outage = self._outages.setdefault(event.aggregate_id, _Outage(began_ns))
            outage.attempts += 1
            outage.last_ns = max(outage.last_ns, event.end_time_ns)
            if len(self._outages) > _OPEN_OUTAGES:
                self._outages.popitem(last=False)

    def _judge_recovery(self, event: DatabaseConnectionEstablished, context: Any) -> None:
        with self._lock:
            outage = self._outages.get(event.aggregate_id)
            # A connection that was there before the last failure says nothing about what is now.
            if outage is None or event.database is None or event.end_time_ns < outage.last_ns:
                return
            del self._outages[event.aggregate_id]
        recovered = DatabaseRecovered(
            event.database,
            event.parent,
            event.end_time_ns,
            max(0, event.end_time_ns - outage.began_ns),
            outage.attempts,
            llm=event.llm,
        )
        self._publish(recovered, context)


class _Burst:
    """The runs so far of one statement under one span."""

    __slots__ = (
        "advice",
        "called_from",
        "context",
        "count",
        "database",
        "duration_ns",
        "end_time_ns",
        "llm",
        "parent",
        "statement",
    )

    def __init__(self, first: _Query, parent: TraceParent, context: Any) -> None:
        self.database = first.database
        self.parent = parent
        self.statement = first.statement
        self.llm = first.llm
        self.context = context
        self.count = 0
        self.duration_ns = 0
        self.end_time_ns = 0
        self.called_from: CodeLocation | None = None
        self.advice = ""

    def note(self, event: _Query) -> None:
        """Keep where a run came from and what would mend it, as far as it says so."""
        if event.advice or self.called_from is None:
            self.called_from = event.called_from or self.called_from
        self.advice = self.advice or event.advice


class _Outage:
    """A database that refuses connections: since when, until when, and how often."""

    __slots__ = ("attempts", "began_ns", "last_ns")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = self.last_ns = began_ns
        self.attempts = 0
