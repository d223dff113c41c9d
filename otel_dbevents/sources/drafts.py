"""What the caller's thread notes of what is most frequent; the events are made of it on a worker.

The span that was current is found in the caller's context, which nobody can change.
"""

from typing import ClassVar

from otel_dbevents.drafts import Draft
from otel_dbevents.events import (
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    ConnectionClosed,
    Database,
    DatabaseConnectionEstablished,
    Event,
    QueryExecuted,
    Statement,
    TraceParent,
)
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.guarding import guard


class _Noted(Draft, gc=False, eq=False):
    parent_in = staticmethod(parent_of)

    def make(self) -> tuple[Event, ...]:
        try:
            return self.of(parent_of(self.context))
        except Exception as error:  # noqa: BLE001 - it is counted, and the others are told
            guard.caught(error)
            return ()

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        raise NotImplementedError  # pragma: no cover - abstract


class QueryDraft(_Noted, gc=False, eq=False):
    """Of a query with nothing remarkable about it: no batch, no stream."""

    kinds: ClassVar[tuple[type[Event], ...]] = (QueryExecuted,)
    is_plain: ClassVar[bool] = True

    database: Database
    statement: Statement
    end_time_ns: int
    duration_ns: int
    returned_rows: int = -1
    affected_rows: int = -1
    fetch_ns: int = 0
    reading_ns: int = 0

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the event."""
        event = QueryExecuted(
            self.database,
            parent,
            self.end_time_ns,
            self.duration_ns,
            self.statement,
            1,
            self.returned_rows,
            self.affected_rows,
            self.fetch_ns,
            self.reading_ns,
        )
        return (event,)


class CheckedOutDraft(_Noted, gc=False, eq=False):
    """Of a connection that the pool gave."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedOut,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int
    create_ns: int

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the event."""
        end, waited = self.end_time_ns, self.duration_ns
        return (ConnectionCheckedOut(self.database, parent, end, waited, self.create_ns),)


class OpenedDraft(_Noted, gc=False, eq=False):
    """Of a connection that was opened, and given by the pool."""

    kinds: ClassVar[tuple[type[Event], ...]] = (
        DatabaseConnectionEstablished,
        ConnectionCheckedOut,
    )

    database: Database
    end_time_ns: int
    duration_ns: int
    create_ns: int
    pool_size: int

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the events."""
        database, end = self.database, self.end_time_ns
        established = DatabaseConnectionEstablished(
            database.environment,
            database.system_name,
            self.pool_size,
            None,
            end,
            self.create_ns,
            database=database,
            parent=parent,
        )
        out = ConnectionCheckedOut(database, parent, end, self.duration_ns, self.create_ns)
        return established, out


class CheckedInDraft(_Noted, gc=False, eq=False):
    """Of a connection that came back."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedIn,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the event."""
        return (ConnectionCheckedIn(self.database, parent, self.end_time_ns, self.duration_ns),)


class ClosedDraft(_Noted, gc=False, eq=False):
    """Of a connection that was closed."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionClosed,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the event."""
        return (ConnectionClosed(self.database, parent, self.end_time_ns, self.duration_ns),)


class ReturnedDraft(_Noted, gc=False, eq=False):
    """Of a connection that came back to a pool that keeps none, and was closed for that."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedIn, ConnectionClosed)

    database: Database
    end_time_ns: int
    used_ns: int
    lived_ns: int

    def of(self, parent: TraceParent | None) -> tuple[Event, ...]:
        """Return the events."""
        database, end = self.database, self.end_time_ns
        return (
            ConnectionCheckedIn(database, parent, end, self.used_ns),
            ConnectionClosed(database, parent, end, self.lived_ns),
        )
