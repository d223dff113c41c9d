"""What happened on the wire, as a source saw it. SQLAlchemy's listeners make most of them."""

from typing import Any, ClassVar

from otel_dbevents.events.event import Event, Fact
from otel_dbevents.events.ids import Id
from otel_dbevents.events.values import CodeLocation, Failure, Holder, Statement


class QueryExecuted(Fact, frozen=True, gc=False):
    """The driver executed a statement. Fires when its result is read to the end or closed.

    At the latest that is when the connection goes back to the pool. ``duration_ns`` is the
    driver's call as the caller saw it and ``end_time_ns`` its end; ``fetch_ns`` is the time from
    then until the result was done, of which ``reading_ns`` passed in the driver. ``first_row_ns``
    is the time until the first rows were there. Counts and times that nobody knows are -1.
    ``called_from`` is the application's line, and ``advice`` what would mend a repetition: filled
    only where the query was slow, or as often run under one span as makes it a repeated one.
    ``attributes`` are what the application's own hooks gave. ``propagated``: the id was made known
    before the query ended, in the SQL's comment or to another instrumentation.
    """

    about: ClassVar[frozenset[str]] = Event.about | {"propagated"}

    duration_ns: int
    statement: Statement
    batch_size: int = 1
    returned_rows: int = -1
    affected_rows: int = -1
    fetch_ns: int = 0
    reading_ns: int = 0
    first_row_ns: int = -1
    called_from: CodeLocation | None = None
    advice: str = ""
    attributes: dict[str, Any] | None = None
    propagated: bool = False

    @property
    def spent_ns(self) -> int:
        """The driver's call and what of its fetching was timed: by this a query is slow."""
        return self.duration_ns + self.reading_ns


class QueryFailed(Fact, frozen=True, gc=False):
    """The driver refused a statement, lost the connection in it, or was cancelled in it."""

    duration_ns: int
    statement: Statement
    failure: Failure
    batch_size: int = 1
    called_from: CodeLocation | None = None
    advice: str = ""
    attributes: dict[str, Any] | None = None

    @property
    def spent_ns(self) -> int:
        """The driver's call: by this a query is slow."""
        return self.duration_ns


class TransactionCommitted(Fact, frozen=True, gc=False):
    """The driver returned from COMMIT, and the server had committed.

    Never fires in autocommit, when nothing had been run, or when the driver has nothing open. A
    transaction that is lost with its connection (ended by the server, cancelled in a query,
    collected as garbage on an async engine) has no event of its end: nobody saw one.
    ``duration_ns`` is the COMMIT's own time, ``transaction_ns`` from the first statement's start.
    -1 is not known: the COMMIT was part of a client's batch. Such a ROLLBACK has -1 too, and one
    that closing a client's transaction implied.
    """

    duration_ns: int
    transaction_ns: int
    statement_count: int


class TransactionRolledBack(Fact, frozen=True, gc=False):
    """A transaction that had written or failed was rolled back, and the driver returned from that.

    By ROLLBACK, or by COMMIT where PostgreSQL answers that with a rollback, as a statement had
    failed. Never fires where the driver has nothing open, nor for a transaction that is lost with
    its connection.
    """

    duration_ns: int
    transaction_ns: int
    statement_count: int


class TransactionReleased(Fact, frozen=True, gc=False):
    """A transaction that only read ended by ROLLBACK: nothing to keep, nothing lost."""

    duration_ns: int
    transaction_ns: int
    statement_count: int


class CommitFailed(Fact, frozen=True, gc=False):
    """The driver raised in COMMIT: what the transaction wrote must be taken as lost."""

    duration_ns: int
    transaction_ns: int
    statement_count: int
    failure: Failure


class RollbackFailed(Fact, frozen=True, gc=False):
    """The driver raised in ROLLBACK; SQLAlchemy discards such a connection."""

    duration_ns: int
    transaction_ns: int
    statement_count: int
    failure: Failure


class ConnectionCheckedOut(Fact, frozen=True, gc=False):
    """The pool gave a connection.

    ``duration_ns`` is the whole wait. ``create_ns`` of it the server was talked to, to open a new
    connection, or to ping a pooled one (``pool_pre_ping``); the rest is the pool's.
    """

    duration_ns: int
    create_ns: int = 0


class ConnectionCheckedIn(Fact, frozen=True, gc=False):
    """A connection came back. ``duration_ns`` is how long it was in use."""

    duration_ns: int


class ConnectionInvalidated(Fact, frozen=True, gc=False):
    """A connection was found unusable and will not be used again; ``soft``: after this use."""

    soft: bool = False
    failure: Failure | None = None


class ConnectionClosed(Fact, frozen=True, gc=False):
    """A connection of the pool was closed. ``duration_ns`` is how long it had lived."""

    duration_ns: int


class CheckoutTimedOut(Fact, frozen=True, gc=False):
    """The pool had no connection to give within its timeout. ``duration_ns`` is the wait."""

    duration_ns: int
    used: int
    max: int
    holders: tuple[Holder, ...] = ()


class QueryExplained(Fact, frozen=True, gc=False):
    """The database's plan of a query that was slow: EXPLAIN, which did not run the query again.

    Fires only where the user asked for it, after the query's own event, whose id is ``query_id``;
    not for statements that may write, nor again for one that was explained in the last ten minutes.
    ``plan`` has no literals. ``duration_ns`` is what the explaining took, connecting included.
    """

    duration_ns: int
    statement: Statement
    query_id: Id
    plan: str
