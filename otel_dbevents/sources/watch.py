"""What is known of one engine while it is listened to, and of each of its connections."""

import logging
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from sqlalchemy.engine import Engine
from sqlalchemy.pool.base import _AdhocProxiedConnection

from otel_dbevents.events import Database, Event, Failure, TraceParent
from otel_dbevents.sources.location import Spot

Publish: TypeAlias = Callable[[Event, Any], None]
"""Takes an event and the OpenTelemetry context of the call that it tells of."""

INFO_KEY = "otel_dbevents"
"""Where a connection's state lives: in ``info`` of SQLAlchemy's connection record."""

SUPPRESS: str = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
_NEVER = 2**63
_log = logging.getLogger("otel_dbevents.sources")


class Notice(NamedTuple):
    """From when on something is worth a second look. Times in nanoseconds; 0 turns it off."""

    messages: bool = False
    """Whether a failure carries the driver's own message."""
    slow_ns: int = 0
    """From this duration on it is told where in the application a query came from."""
    repeated: int = 0
    """At so many runs of one statement under one span it is told too, and what would mend it."""


class Watch:
    """One engine under watch. Its dialect's wrapped methods and its connections share it."""

    def __init__(
        self, engine: Engine, database: Database, publish: Publish, notice: Notice
    ) -> None:
        self.database = database
        self.publish = publish
        self.messages = notice.messages
        self.slow_ns = notice.slow_ns or _NEVER
        self.repeated = notice.repeated
        self.runs: dict[tuple[bytes, str], int] = {}
        """How often each statement, by its text, ran under each span; bounded."""
        self.around: Any = None
        """What is done around each call of the driver, where anything is (`sources.around`)."""
        self.surroundings: Any = None
        self.explainer: Any = None
        """Who asks for the plans of slow queries, where it was wished for (`sources.explain`)."""
        self.active = True
        self.engine = weakref.ref(engine)
        self.out: dict[int, ConnectionState] = {}
        """The connections that are checked out, by the identity of their state."""
        self.pending: deque[None] = deque()
        """One entry for each thread or task that is waiting for a connection."""
        self.methods: dict[str, Callable[..., Any]] = {}
        """What stands in the place of the dialect's own methods."""
        self.failures = 0
        """Failed connection attempts since the last success."""
        self.pings: dict[int, Failure] = {}
        """Why pings failed, by the identity of the driver's connection, until that is told."""

    def look_around(self) -> None:
        """Look anew what is to be done around each call: at the beginning and when connecting."""
        self.around = self.surroundings and self.surroundings.if_needed()


class ConnectionState:
    """One DBAPI connection: who holds it, and the transaction that is open on it."""

    __slots__ = (
        "__weakref__",
        "autocommit",
        "commit_failed",
        "created_ns",
        "ending",
        "failed",
        "holder",
        "results",
        "since_ns",
        "spot",
        "statements",
        "transaction_ns",
        "watch",
        "wrote",
    )

    def __init__(self, watch: Watch, created_ns: int) -> None:
        self.watch = watch
        self.created_ns = created_ns
        self.ending = False
        """Whether the driver is ending the transaction now: two-phase calls contain plain ones."""
        self.since_ns = 0
        self.holder: TraceParent | None = None
        self.spot: Spot | None = None
        """Where in the application it was taken."""
        self.results: set[Any] = set()
        """Results that are not read to their end yet."""
        self.end_transaction()

    def end_transaction(self) -> None:
        """Forget the transaction: the next statement begins another."""
        self.transaction_ns = 0
        self.statements = 0
        self.wrote = False
        self.failed = False
        self.autocommit = False
        self.commit_failed = False


def suppressed(context: Any) -> bool:
    """Whether somebody asked instrumentations to be silent in this context."""
    return bool(context.get(SUPPRESS) or context.get("suppress_instrumentation"))


_last: tuple[Any, TraceParent | None] = (None, None)


def parent_of(context: Any) -> TraceParent | None:
    """Return the span that is current in this context, None where there is none."""
    global _last
    span_context = trace.get_current_span(context).get_span_context()
    known, parent = _last
    if known is span_context:
        return parent
    parent = None
    if span_context.is_valid:
        parent = TraceParent(
            span_context.trace_id.to_bytes(16, "big"),
            span_context.span_id.to_bytes(8, "big"),
            int(span_context.trace_flags),
            span_context.trace_state.to_header() if span_context.trace_state else "",
        )
    _last = (span_context, parent)
    return parent


def is_connecting(connection: Any) -> bool:
    """Whether SQLAlchemy still sets this connection up: what it runs then is part of connecting."""
    return isinstance(connection, _AdhocProxiedConnection)


def state_of(watch: Watch, connection: Any, created_ns: int = 0) -> ConnectionState:
    """Return the state of a pooled connection, made now if it was opened before we listened."""
    info = connection.info
    state: ConnectionState | None = info.get(INFO_KEY)
    if state is None:
        state = info[INFO_KEY] = ConnectionState(watch, created_ns or time_ns())
    elif state.watch is not watch:
        state.watch = watch
    return state


class Guard:
    """Counts what went wrong in our own code, and says so once a minute. Nothing passes it."""

    def __init__(self) -> None:
        self.errors = 0
        self.last = ""
        """The last error's type and the places it came through. Not its message, which may hold a
        value; not the exception, whose frames would keep the application's objects alive."""
        # The garbage collector may run a result's end, and so come here, while we are here.
        self._lock = threading.RLock()
        self._silent_until = 0.0

    def caught(self, error: Exception) -> None:
        """Take note of an error that the application must not see."""
        with self._lock:
            self.errors += 1
            self.last = _came_through(error)
            now = monotonic()
            if now < self._silent_until:
                return
            self._silent_until = now + 60
        _log.warning(
            "A database event was not told: %s (%d so far; the application is not affected)",
            self.last,
            self.errors,
        )


def _came_through(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-8)
    places = (f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return " < ".join((type(error).__name__, *places))


guard = Guard()
