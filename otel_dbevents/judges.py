"""Judges: what the facts amount to: a slow query, a statement in a loop, a database that is back.

In: batches from the bus. Out: judgements, published to the bus with the context of the fact.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter, itemgetter
from time import time_ns
from typing import Any, Final, TypeAlias

from otel_dbevents.bursts import Burst, Bursts
from otel_dbevents.drafts import Alike, Draft, Mixed, Part
from otel_dbevents.events import (
    Event,
    QueryExecuted,
    QueryFailed,
    RepeatedQueryDetected,
    SlowQueryDetected,
)
from otel_dbevents.forks import in_child
from otel_dbevents.outages import Outages

Publish: TypeAlias = Callable[[Event, Any], None]
Delivery: TypeAlias = tuple[Event, Any]
"""An event with the context of its call."""
_Query: TypeAlias = QueryExecuted | QueryFailed

_QUERIES: Final = (QueryExecuted, QueryFailed)
_NEVER_NS: Final = 2**63
_event_of: Final[Callable[[Delivery], Event]] = itemgetter(0)
_parent_of: Final = attrgetter("parent")
_duration_of: Final = attrgetter("duration_ns")
_reading_of: Final = attrgetter("reading_ns")


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
    parent process of a fork is the parent's to judge. Kept in mind are the latest 2,000 runs, the
    bursts among them, and 1,000 outages.

    """

    types: tuple[type[Event], ...] = (
        QueryExecuted,
        QueryFailed,
        *Outages.types,
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
        self._is_settling: bool  # set anew in a forked child
        self._slow_ns = slow_query_ns
        self._repeated = repeated_queries
        self._begin_anew()
        in_child(self._begin_anew)

    def consume(self, batch: Sequence[Delivery]) -> None:
        """Judge a batch of facts."""
        with self._lock:
            self._judge(batch)
        self._tell()

    def take(self, batch: Sequence[Delivery | Draft]) -> None:
        """Judge a batch in which plain drafts may be what they are, and others than are judged.

        None of the drafts is of a slow query: their source tells that as an event.
        """
        with self._lock:
            if isinstance(batch, Alike):
                self._note(batch)
            elif isinstance(batch, Mixed):
                for part in batch.parts:
                    self._take_part(part)
            else:
                self._judge([item for item in batch if type(item) is tuple and _is_judged(item)])
        self._tell()

    def settle_quiet(self) -> None:
        """Tell of the bursts that had no run for a second. Called when nothing comes."""
        with self._lock:
            self._bursts.end_quiet(time_ns())
        self._tell()

    def settle(self) -> None:
        """Tell of the bursts that are open, as if they had ended.

        Where a signal's handler asks for it, what it interrupted goes on with that afterwards.
        """
        with self._lock:
            if not self._is_settling:
                self._is_settling = True
                try:
                    self._bursts.end_all()
                finally:
                    self._is_settling = False
        self._tell()

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock."""
        self._found: deque[Delivery] = deque()
        """What is to be published, once the lock is free."""
        self._bursts = Bursts(self._repeated, self._repeats)
        self._outages = Outages()
        # Held twice by one thread where a signal's handler flushes while that thread does.
        self._lock = threading.RLock()
        self._is_settling = False

    def _judge(self, batch: Sequence[Any]) -> None:
        events: list[Any] = list(map(_event_of, batch))
        if {*map(type, events)} != {QueryExecuted} or not self._are_fast(events):
            self._look_at_each(batch)
        elif self._repeated:
            self._count(batch, events)

    def _take_part(self, part: Part) -> None:
        judged = [each for each in part.deliveries if _is_judged(each)]
        if any(type(event) in _QUERIES for event, _ in judged):
            # What the same statement did before and after comes in its order.
            for kind, run in groupby(part.items, type):
                these = [*run]
                if kind is tuple:
                    self._judge([each for each in these if _is_judged(each)])
                else:
                    self._note(Alike(these))
            return
        for drafts in part.alike:
            self._note(drafts)
        if judged:
            self._judge(judged)

    def _note(self, drafts: Alike) -> None:
        """Take what was noted of queries to the others under their spans."""
        if not self._repeated or QueryExecuted not in drafts.kind.kinds:
            return
        number = 0
        for part in drafts.parts:
            said = part.columns
            names = "database", "statement", "end_time_ns", "duration_ns", "reading_ns"
            rows = [*zip(*map(said.__getitem__, names), strict=True)]
            number += self._bursts.add_all(rows, part.within, said["context"])
        if number:
            self._bursts.settle(number, drafts[-1].end_time_ns)

    def _are_fast(self, events: Sequence[QueryExecuted]) -> bool:
        """Whether none of these can be slow: their longest times are not, taken together."""
        longest_ns: int = max(map(_duration_of, events)) + max(map(_reading_of, events))
        return longest_ns < (self._slow_ns or _NEVER_NS)

    def _count(self, batch: Sequence[Delivery], events: Sequence[QueryExecuted]) -> None:
        """Count the runs of fast queries: most spans have too few in all to look at each."""
        bursts, done, number = self._bursts, 0, 0
        for parent, those in groupby(events, _parent_of):
            runs = list(those)
            if parent is not None:
                number += len(runs)
                room, here = bursts.room(parent)
                if len(runs) <= room:
                    here.extend(runs)
                else:
                    for event, context in batch[done : done + len(runs)]:
                        bursts.add(event, context)
            done += len(runs)
        if number:
            bursts.settle(number, events[-1].end_time_ns)

    def _look_at_each(self, batch: Sequence[Delivery]) -> None:
        slow_ns = self._slow_ns or _NEVER_NS
        bursts, number, end_ns = self._bursts if self._repeated else None, 0, 0
        for delivery in batch:
            event: Any = delivery[0]
            kind = type(event)
            if kind is QueryExecuted:
                spent_ns = event.duration_ns + event.reading_ns
            elif kind is QueryFailed:
                spent_ns = event.duration_ns
            else:
                recovered = self._outages.hear(event)
                if recovered is not None:
                    self._found.append((recovered, delivery[1]))
                continue
            if spent_ns >= slow_ns:
                self._found.append((self._slow(event), delivery[1]))
            if bursts is not None and event.parent is not None:
                bursts.add(event, delivery[1])
                number, end_ns = number + 1, event.end_time_ns
        if bursts is not None and number:
            bursts.settle(number, end_ns)

    def _tell(self) -> None:
        while self._found:
            with suppress(IndexError):  # another thread may tell some of them
                self._publish(*self._found.popleft())

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

    def _repeats(self, burst: Burst) -> None:
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
        self._found.append((repeated, burst.context))


def _is_judged(delivery: Delivery) -> bool:
    return type(delivery[0]) in Judges.types
