"""Outages: databases that refuse connections, from the first failure until they are back."""

from collections import OrderedDict
from typing import Final

from otel_dbevents.events import (
    ConnectionInvalidated,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseRecovered,
    Event,
)

_MOST: Final = 1_000
_SAME_NS: Final = 60_000_000_000
"""A connection that was lost so long before a failed attempt at the most began the outage."""


class Outages:
    """Hears what is told of connections, and says when a database is back. Not thread-safe.

    An outage is there once an attempt to connect failed, the application's or a health check's. It
    began with that, or with the connection that had been lost up to a minute before it. It ends
    with the first connection or check that begins after the last failure and goes well; so each is
    told once, whoever finds out. An attempt that hangs through that and fails later begins no
    other. Kept in mind are the latest 1,000.
    """

    types: tuple[type[Event], ...] = (
        ConnectionInvalidated,
        DatabaseConnectionEstablished,
        DatabaseConnectionFailed,
        DatabaseHealthCheckCompleted,
    )
    """What is heard."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Outage] = OrderedDict()
        self._lost: OrderedDict[str, int] = OrderedDict()
        """When a connection was lost first, by database, since it was last known to be there."""
        self._ended: OrderedDict[str, int] = OrderedDict()
        """When the last outage ended, by database."""

    def hear(self, event: Event) -> DatabaseRecovered | None:
        """Take in one event; return the judgement that it leads to."""
        if type(event) is DatabaseConnectionEstablished and not (self._open or self._lost):
            return None  # as nearly always
        match event:
            case DatabaseConnectionFailed():
                self._failed(event, event.duration_ns)
            case DatabaseConnectionEstablished():
                return self._back(event)
            case DatabaseHealthCheckCompleted(database=None):
                return None  # nobody knows which database that was
            case DatabaseHealthCheckCompleted(was_answered=True):
                return self._back(event)
            case DatabaseHealthCheckCompleted(was_answered=False):
                self._failed(event, int(event.latency_ms * 1e6))
            case ConnectionInvalidated() if event.failure and event.failure.is_disconnect:
                self._lost.setdefault(event.aggregate_id, event.end_time_ns)
                _bound(self._lost)
        return None

    def _failed(self, event: Event, took_ns: int) -> None:
        began_ns = event.time_ns - max(0, took_ns)
        outage = self._open.get(event.aggregate_id)
        if outage is None:
            if began_ns < self._ended.get(event.aggregate_id, 0):
                return  # it hung through the end of that outage, and is a part of it
            lost_ns = self._lost.pop(event.aggregate_id, began_ns)
            if 0 < began_ns - lost_ns <= _SAME_NS:
                began_ns = lost_ns
            outage = self._open[event.aggregate_id] = _Outage(began_ns)
            _bound(self._open)
        outage.attempts += 1
        outage.last_ns = max(outage.last_ns, event.time_ns)

    def _back(
        self, event: DatabaseConnectionEstablished | DatabaseHealthCheckCompleted
    ) -> DatabaseRecovered | None:
        if self._lost:
            self._lost.pop(event.aggregate_id, None)
        outage = self._open.get(event.aggregate_id)
        # A connection that was there before the last failure says nothing about what is now.
        if outage is None or event.database is None or event.end_time_ns < outage.last_ns:
            return None
        del self._open[event.aggregate_id]
        self._ended[event.aggregate_id] = event.end_time_ns
        _bound(self._ended)
        took_ns = max(0, event.end_time_ns - outage.began_ns)
        return DatabaseRecovered(
            event.database,
            event.parent,
            event.end_time_ns,
            took_ns,
            outage.attempts,
            llm=event.llm,
        )


class _Outage:
    """A database that refuses connections: since when, until when, and how often."""

    __slots__ = ("attempts", "began_ns", "last_ns")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = self.last_ns = began_ns
        self.attempts = 0


def _bound(those: "OrderedDict[str, _Outage] | OrderedDict[str, int]") -> None:
    if len(those) > _MOST:
        those.popitem(last=False)
