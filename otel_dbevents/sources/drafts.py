"""What the caller's thread notes of what is most frequent; the events are made of it on a worker.

The span that was current is found in the caller's context, which nobody can change.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

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
    new_ids,
)
from otel_dbevents.sources.caller import parent_of, spans_in
from otel_dbevents.sources.guarding import guard


class _Noted(Draft, gc=False, eq=False):
    spans_in = staticmethod(spans_in)

    def make(self) -> tuple[Event, ...]:
        self.make_all((self,), {})
        return self.made or ()

    @classmethod
    def make_all(cls, drafts: Sequence[Any], found: dict[int, Any]) -> None:
        """Make their events. Never raises. ``found`` has the parents, by the contexts' ids."""
        ids, number = new_ids(len(drafts) * len(cls.kinds)), 0
        for draft in drafts:
            try:
                parent = _parent_of(draft.context, found)
                draft.made = draft.of(parent, *ids[number : number + len(cls.kinds)])
            except Exception as error:  # noqa: BLE001 - it is counted, and the others are told
                guard.caught(error)
                draft.made = ()
            number += len(cls.kinds)

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
        raise NotImplementedError  # pragma: no cover - abstract


def _parent_of(context: Any, found: dict[int, Any]) -> TraceParent | None:
    key = id(context)  # the drafts hold it
    if key not in found:
        found[key] = parent_of(context)
    parent: TraceParent | None = found[key]
    return parent


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

    @classmethod
    def make_all(cls, drafts: Sequence[Any], found: dict[int, Any]) -> None:
        """Make their events, as the others do. In one piece, as nearly every query comes by."""
        context = parent = None
        for draft, new in zip(drafts, new_ids(len(drafts)), strict=True):
            try:
                if draft.context is not context:
                    context = draft.context
                    parent = _parent_of(context, found)
                event = QueryExecuted(
                    draft.database,
                    parent,
                    draft.end_time_ns,
                    draft.duration_ns,
                    draft.statement,
                    1,
                    draft.returned_rows,
                    draft.affected_rows,
                    draft.fetch_ns,
                    draft.reading_ns,
                    id=new,
                )
                draft.made = (event,)
            except Exception as error:  # noqa: BLE001 - it is counted, and the others are told
                guard.caught(error)
                draft.made, context = (), None


class CheckedOutDraft(_Noted, gc=False, eq=False):
    """Of a connection that the pool gave."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedOut,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int
    create_ns: int

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
        """Return the event."""
        end, waited, create_ns = self.end_time_ns, self.duration_ns, self.create_ns
        return (ConnectionCheckedOut(self.database, parent, end, waited, create_ns, id=ids[0]),)


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

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
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
            id=ids[0],
        )
        waited, create_ns = self.duration_ns, self.create_ns
        out = ConnectionCheckedOut(database, parent, end, waited, create_ns, id=ids[1])
        return established, out


class CheckedInDraft(_Noted, gc=False, eq=False):
    """Of a connection that came back."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedIn,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
        """Return the event."""
        end, used = self.end_time_ns, self.duration_ns
        return (ConnectionCheckedIn(self.database, parent, end, used, id=ids[0]),)


class ClosedDraft(_Noted, gc=False, eq=False):
    """Of a connection that was closed."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionClosed,)
    is_plain: ClassVar[bool] = True

    database: Database
    end_time_ns: int
    duration_ns: int

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
        """Return the event."""
        end, lived = self.end_time_ns, self.duration_ns
        return (ConnectionClosed(self.database, parent, end, lived, id=ids[0]),)


class ReturnedDraft(_Noted, gc=False, eq=False):
    """Of a connection that came back to a pool that keeps none, and was closed for that."""

    kinds: ClassVar[tuple[type[Event], ...]] = (ConnectionCheckedIn, ConnectionClosed)

    database: Database
    end_time_ns: int
    used_ns: int
    lived_ns: int

    def of(self, parent: TraceParent | None, *ids: bytes) -> tuple[Event, ...]:
        """Return the events."""
        database, end = self.database, self.end_time_ns
        return (
            ConnectionCheckedIn(database, parent, end, self.used_ns, id=ids[0]),
            ConnectionClosed(database, parent, end, self.lived_ns, id=ids[1]),
        )
