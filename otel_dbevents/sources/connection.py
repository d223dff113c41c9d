"""What is known of one DBAPI connection: who holds it, what is unread, what is open on it."""

import weakref
from collections import deque
from time import time_ns
from typing import Any, Final, TypeAlias

from sqlalchemy.pool.base import _AdhocProxiedConnection, _ConnectionRecord
from sqlalchemy.util import memoized_property

from otel_dbevents.events import TraceParent
from otel_dbevents.living import Living
from otel_dbevents.sources.caller import PLAIN, SUPPRESS, parent_of
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import Ledger, Publish
from otel_dbevents.sources.location import Spot
from otel_dbevents.sources.watch import Runs, Watch

INFO_KEY = "otel_dbevents"
"""Where a connection's state lives: in ``info`` of SQLAlchemy's connection record."""

_info_of_record: Final[Any] = vars(_ConnectionRecord).get("info")
INFO_IS_KEPT: Final = (
    type(_info_of_record) is memoized_property and _info_of_record.__name__ == "info"
)
"""Whether ``info`` is a dictionary that is made when it is asked for, and kept by its own name."""

Seen: TypeAlias = tuple[Any, Runs | None, Ledger | None]
NOBODY: Final[Seen] = (None, None, None)


class ConnectionState:
    """One DBAPI connection: who holds it, and the transaction that is open on it."""

    __slots__ = (
        "__weakref__",
        "autocommit",
        "commit_failed",
        "created_ns",
        "ending",
        "failed",
        "latest",
        "others",
        "proxied",
        "seen",
        "since_ns",
        "spare",
        "spot",
        "statements",
        "taken_in",
        "told_out",
        "transaction_ns",
        "watch",
        "wrote",
    )

    def __init__(self, watch: Watch, created_ns: int) -> None:
        self.watch = watch
        self.created_ns = created_ns
        self.ending = False
        """Whether the driver is ending the transaction now: two-phase calls contain plain ones."""
        self.told_out = False
        """Whether it is out and that was told."""
        self.since_ns = 0
        """Since when it is out, at the least."""
        self.taken_in: Any = None
        """The context that it was taken from the pool in, until it comes back."""
        self.proxied: weakref.ref[Any] | None = None
        """What the pool gave to the application, until it comes back."""
        self.spot: Spot | None = None
        """Where in the application it was taken."""
        self.latest: weakref.ref[Any] | None = None
        """The latest result that is not read to its end yet; told at the latest at the check-in."""
        self.spare: Any = None
        """A reading that nobody needs any more, for the next query."""
        self.others: dict[int, weakref.ref[Any]] | None = None
        """Those before it, by identity."""
        self.seen = NOBODY
        """The latest caller's context, what ran under the span that is current in it, and the
        ledger. One value: several threads may have a `StaticPool`'s connection."""
        self.transaction_ns = 0
        self.statements = 0
        self.wrote = self.failed = self.autocommit = self.commit_failed = False

    @property
    def holder(self) -> TraceParent | None:
        """The span that it was taken in."""
        return None if self.taken_in is None else parent_of(self.taken_in)

    def look(self, caller: Any) -> Seen | None:
        """Take note of a caller's context; None where it is one to be silent in."""
        if caller.get(SUPPRESS) or caller.get(PLAIN):  # as `suppressed`, in this frame
            return None
        watch = self.watch
        seen = self.seen = (caller, watch.runs_under(caller), watch.ledger(caller))
        return seen

    def make_room(self) -> None:
        """Put the latest result with the others: another is opened before it was read."""
        before = self.latest
        if before is not None and (reading := before()) is not None:
            if self.others is None:
                self.others = {}
            self.others[id(reading)] = before

    def unread(self) -> list[Any]:
        """Return the results that are not read to their end yet."""
        references = [*(self.others or {}).values(), self.latest]
        found = (None if each is None else each() for each in references)
        return [reading for reading in found if reading is not None]

    @property
    def is_collected(self) -> bool:
        """Whether nobody gave the connection back: SQLAlchemy takes it from a finalizer."""
        return self.proxied is not None and self.proxied() is None

    @property
    def publish(self) -> Publish:
        """Take an event of this connection."""
        return self.watch.from_finalizer if self.is_collected else self.watch.publish

    def caught(self, error: Exception) -> None:
        """Take note of an error of ours in telling of this connection."""
        try:
            (guard.noted if self.is_collected else guard.caught)(error)
        finally:
            del error

    def end_transaction(self) -> None:
        """Forget the transaction: the next statement begins another."""
        self.transaction_ns = 0
        self.statements = 0
        self.wrote = False
        self.failed = False
        self.autocommit = False
        self.commit_failed = False


def is_connecting(connection: Any) -> bool:
    """Whether SQLAlchemy still sets this connection up: what it runs then is part of connecting."""
    return isinstance(connection, _AdhocProxiedConnection)


def state_of(watch: Watch, connection: Any, created_ns: int = 0) -> ConnectionState:
    """Return the state of a pooled connection, made now if it was opened before we listened.

    Of what went on before nothing is known: what it may have open counts as having written.
    """
    info = connection.info
    state: ConnectionState | None = info.get(INFO_KEY)
    if state is None or state.watch is not watch:
        known = created_ns or (state.created_ns if state else time_ns())
        state = info[INFO_KEY] = ConnectionState(watch, known)
        state.since_ns = time_ns()
        state.wrote = True
    return state


def adopt(watch: Watch, record: Any) -> None:
    """Take note of a connection that was opened before we listened.

    One that is in use has a state from now on, so that it is known since when at the least.
    """
    watch.records.add(record)
    if record.in_use:
        state_of(watch, record, int(record.starttime * 1e9))


def state_in(watch: Watch, context: Any) -> ConnectionState | None:
    """Return the state of the connection that an execution context has.

    None for what SQLAlchemy runs while it connects.
    """
    if context is None:
        return None
    proxied = context.root_connection.connection
    return None if is_connecting(proxied) else state_of(watch, proxied)


def note(state: ConnectionState, start: int, writes: bool, context: Any) -> None:
    """Add a statement to the connection's transaction, which it may begin."""
    if not state.transaction_ns:
        begin(state, start, context)
    state.statements += 1
    if writes:
        state.wrote = True


def begin(state: ConnectionState, start: int, context: Any) -> None:
    """Begin a transaction with the statement that is running since ``start`` (ns)."""
    state.transaction_ns = start
    state.autocommit = context.root_connection._is_autocommit_isolation()


def look_anew(watch: Watch) -> None:
    """Forget what was found out about the contexts that an engine's connections are used in."""
    for record in watch.records.all():
        state: ConnectionState | None = record.info.get(INFO_KEY)
        if state is not None:
            state.seen = NOBODY


def forget_readings(watch: Watch) -> None:
    """Have nothing told of the results that are not read to their end."""
    for record in watch.records.all():
        state: ConnectionState | None = record.info.get(INFO_KEY)
        for reading in () if state is None else state.unread():
            reading.watch = None


def begin_anew(watch: Watch) -> None:
    """Forget what is the parent's, in a forked child: its connections and its open results.

    A connection that the child uses all the same is known from then on.
    """
    forget_readings(watch)
    for record in watch.records.all():
        record.info.pop(INFO_KEY, None)
    watch.records, watch.proxies, watch.pending = Living(), Living(), deque()
    watch.runs, watch.known_runs, watch.pings, watch.pinged = {}, 0, {}, {}
    watch.succeeded()
