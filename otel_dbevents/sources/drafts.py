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
from otel_dbevents.sources.watch import guard, parent_of


class _Noted(Draft, gc=False, eq=False):
    def make(self) -> Event | None:
        try:
            return self.of(parent_of(self.context))
        except Exception as error:  # noqa: BLE001 - it is counted, and the others are told
            guard.caught(error)
            return None

    def of(self, parent: TraceParent | None) -> Event:
        raise NotImplementedError  # pragma: no cover - abstract


class QueryDraft(_Noted, gc=False, eq=False):
    """Of a query with nothing remarkable about it: no batch, no stream."""

    kind: ClassVar[type[Event]] = QueryExecuted

    database: Database
    statement: Statement
    end_time_ns: int
    duration_ns: int
    returned_rows: int = -1
    affected_rows: int = -1
    fetch_ns: int = 0
    reading_ns: int = 0

    def of(self, parent: TraceParent | None) -> Event:
        """Return the event."""
        return QueryExecuted(
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


class EstablishedDraft(_Noted, gc=False, eq=False):
    """Of a connection that was opened."""

    kind: ClassVar[type[Event]] = DatabaseConnectionEstablished

    database: Database
    end_time_ns: int
    duration_ns: int
    pool_size: int

    def of(self, parent: TraceParent | None) -> Event:
        """Return the event."""
        database = self.database
        return DatabaseConnectionEstablished(
            database.environment,
            database.system_name,
            self.pool_size,
            None,
            self.end_time_ns,
            self.duration_ns,
            database=database,
            parent=parent,
        )


class CheckedOutDraft(_Noted, gc=False, eq=False):
    """Of a connection that the pool gave."""

    kind: ClassVar[type[Event]] = ConnectionCheckedOut

    database: Database
    end_time_ns: int
    duration_ns: int
    create_ns: int

    def of(self, parent: TraceParent | None) -> Event:
        """Return the event."""
        return ConnectionCheckedOut(
            self.database, parent, self.end_time_ns, self.duration_ns, self.create_ns
        )


class CheckedInDraft(_Noted, gc=False, eq=False):
    """Of a connection that came back."""

    kind: ClassVar[type[Event]] = ConnectionCheckedIn

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None) -> Event:
        """Return the event."""
        return ConnectionCheckedIn(self.database, parent, self.end_time_ns, self.duration_ns)


class ClosedDraft(_Noted, gc=False, eq=False):
    """Of a connection that was closed."""

    kind: ClassVar[type[Event]] = ConnectionClosed

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None) -> Event:
        """Return the event."""
        return ConnectionClosed(self.database, parent, self.end_time_ns, self.duration_ns)
