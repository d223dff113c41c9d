"""What is known of one engine while it is listened to, and of each of its connections."""

import logging
import weakref
from collections import deque
from collections.abc import Callable
from time import time_ns
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import DEFAULT_TRACE_STATE, NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace import propagation as trace_propagation
from sqlalchemy.engine import Engine
from sqlalchemy.pool.base import _AdhocProxiedConnection

from otel_dbevents.drafts import Draft
from otel_dbevents.events import Database, Event, Failure, LlmContext, Statement, TraceParent
from otel_dbevents.sources.location import Spot
from otel_dbevents.swallowing import Swallowing, told

Runs: TypeAlias = list[Any]
"""What ran, statement by statement; of many how often each did (`Watch.counts`)."""

Publish: TypeAlias = Callable[[Event, Any], None]
"""Takes an event and the OpenTelemetry context of the call that it tells of."""

Defer: TypeAlias = Callable[[Draft], None]
"""Takes what an event will be made of."""


class Ledger(Protocol):
    """Where events of LLM work are entered just before they are published."""

    def cause(self) -> LlmContext:
        """Return which generation causes what happens now."""
        ...

    def enter(self, event: Event, cause: LlmContext | None = None) -> None:
        """Enter an event and have it say what caused it: ``cause``, else the one of now."""
        ...


FindLedger: TypeAlias = Callable[[Any], Ledger | None]
"""Returns the ledger for an OpenTelemetry context; None outside LLM work. Never raises."""


def no_ledger(_context: Any) -> None:
    """Find none."""


WATCH_KEY: Final = "_otel_dbevents"
"""Where an engine's watch lives: in its dialect, which all its option engines share."""

INFO_KEY = "otel_dbevents"
"""Where a connection's state lives: in ``info`` of SQLAlchemy's connection record."""

SUPPRESS: str = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
PLAIN: Final = "suppress_instrumentation"
"""What older instrumentations ask for silence with."""
_NEVER = 2**63
_MOST_RUNS = 5_000
_log = logging.getLogger("otel_dbevents.sources")


class Notice(NamedTuple):
    """From when on something is worth a second look. Times in nanoseconds; 0 turns it off."""

    messages: bool = False
    """Whether a failure carries the driver's own message."""
    slow_ns: int = 0
    """From this duration on it is told where in the application a query came from."""
    repeated: int = 0
    """At so many runs of one statement under one span it is told too, and what would mend it."""
    stacks: bool = False
    """Whether what is an error to the operator goes with its stack to who writes a log."""


class Watch:
    """One engine under watch. Its dialect's wrapped methods and its connections share it."""

    def __init__(
        self,
        engine: Engine,
        database: Database,
        publish: Publish,
        notice: Notice,
        from_finalizer: Publish | None = None,
        ledger: FindLedger = no_ledger,
        defer: Defer | None = None,
    ) -> None:
        self.database = database
        self.publish = publish
        self.defer: Defer = defer or _at_once(publish)
        """Takes what is most frequent, while the application is in a call that it is about."""
        self.from_finalizer = from_finalizer or publish
        """The same where the garbage collector runs, which may be in anybody's locked region."""
        self.ledger = ledger
        self.messages = notice.messages
        self.stacks = notice.stacks
        self.slow_ns = notice.slow_ns or _NEVER
        self.repeated = notice.repeated
        self.runs: dict[int, Runs] = {}
        """What ran under each span, by its id; bounded."""
        self.known_runs = 0
        self.around: Any = None
        """What is done around each call of the driver, where anything is (`sources.around`)."""
        self.surroundings: Any = None
        self.explainer: Any = None
        """Who asks for the plans of slow queries, where it was wished for (`sources.explain`)."""
        self.active = True
        self.recognised = False
        """Whether the database is known as the engine knows it after it spoke to the server."""
        self.engine = weakref.ref(engine)
        self.records = Living()
        """SQLAlchemy's records of the connections that were seen: what is open and in use is read
        from them."""
        self.proxies = Living()
        """What a `StaticPool` gave: several may hold its one connection."""
        self.pending: deque[None] = deque()
        """One entry for each thread or task that is waiting for a connection."""
        self.methods: dict[str, Callable[..., Any]] = {}
        """What stands in the place of the dialect's own methods."""
        self.failures = 0
        """Failed connection attempts since the last success."""
        self.pings: dict[int, Failure] = {}
        """Why pings failed, by the identity of the driver's connection, until that is told."""

    def enter(self, draft: Draft, ledger: Ledger) -> None:
        """Publish what belongs to LLM work: it is entered, and so made at once."""
        for event in draft.events():
            ledger.enter(event)
            self.publish(event, draft.context)

    def runs_under(self, caller: Any) -> Runs | None:
        """Return what ran under the span of a context; None where that is not counted."""
        if not self.repeated:
            return None
        span = trace.get_current_span(caller) if _SPAN is None else caller.get(_SPAN)
        if span is None or not (span_id := span.get_span_context().span_id):
            return None
        runs = self.runs.get(span_id)
        if runs is None:
            self._bound()
            runs = self.runs.setdefault(span_id, [])
        return runs

    def is_repeated(self, runs: Runs | None, statement: Statement) -> bool:
        """Count a run of a statement; tell whether it is the one that makes it a repeated query."""
        if runs is None:
            return False
        runs.append(statement)
        return len(runs) >= self.repeated and self.counts(runs)

    def counts(self, runs: Runs) -> bool:
        """Count by statement, as there are many; tell whether the last run makes a repeated query.

        So that under most spans nothing is counted.
        """
        these = list(runs)  # other threads may run under the same span
        first, latest = these[0], these[-1]
        counts: dict[str, int] = first if type(first) is dict else {}
        few = max(1, self.repeated - 1)  # so that the next run comes here too
        if first is counts:
            del runs[few:]
        else:
            for each in these[:-1]:
                counts[each.query_text] = counts.get(each.query_text, 0) + 1
            runs[:] = [counts] * few
        if type(latest) is dict:  # it was counted by another
            return False
        text = latest.query_text
        count = counts[text] = counts.get(text, 0) + 1
        if count == 1:
            self._bound()
            if len(counts) > _MOST_RUNS:  # a connection holds it that saw only one span
                counts.clear()
        return count == self.repeated

    def _bound(self) -> None:
        """Forget all runs where they would become too many."""
        self.known_runs += 1
        if self.known_runs >= _MOST_RUNS:
            self.runs.clear()
            self.known_runs = 0

    def look_around(self) -> None:
        """Look anew what is to be done around each call: at the beginning and when connecting."""
        surroundings = self.surroundings
        self.around = None if surroundings is None else surroundings.if_needed()

    def look_anew(self) -> None:
        """Forget what was found out about the contexts that the connections are used in."""
        for record in self.records.all():
            state: ConnectionState | None = record.info.get(INFO_KEY)
            if state is not None:
                state.seen = NOBODY

    def begin_anew(self) -> None:
        """Forget what is the parent's, in a forked child: its connections and its open results.

        A connection that the child uses all the same is known from then on.
        """
        for record in self.records.all():
            state: ConnectionState | None = record.info.pop(INFO_KEY, None)
            for reading in () if state is None else state.unread():
                reading.watch = None
        self.records, self.proxies, self.pending = Living(), Living(), deque()
        self.runs, self.known_runs, self.pings, self.failures = {}, 0, {}, 0


def _at_once(publish: Publish) -> Defer:
    """Return what makes events at once, where nobody takes drafts."""

    def defer(draft: Draft) -> None:
        for event in draft.events():
            publish(event, draft.context)

    return defer


class Living:
    """Objects that are not kept alive by being in here. Read by any thread, without a lock."""

    def __init__(self) -> None:
        self.references: dict[weakref.ref[Any], None] = {}
        """What `add` adds to; what must be quick does that without a call."""
        self.forget = self.references.pop

    def add(self, thing: Any) -> None:
        """Take it in, which has no equality of its own; twice is once."""
        self.references[weakref.ref(thing, self.forget)] = None

    def all(self) -> list[Any]:
        """Return those that are still there, in the order in which they came."""
        found = (reference() for reference in list(self.references))
        return [thing for thing in found if thing is not None]


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
        if (SUPPRESS in caller or PLAIN in caller) and suppressed(caller):
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
        references = [*(self.others or {}).values(), *([self.latest] if self.latest else [])]
        return [reading for each in references if (reading := each()) is not None]

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
        (guard.noted if self.is_collected else guard.caught)(error)

    def end_transaction(self) -> None:
        """Forget the transaction: the next statement begins another."""
        self.transaction_ns = 0
        self.statements = 0
        self.wrote = False
        self.failed = False
        self.autocommit = False
        self.commit_failed = False


def _current_context() -> Callable[[], Any]:
    """Return what `opentelemetry.context.get_current` comes to: mostly a variable's own ``get``."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is not ContextVarsRuntimeContext:
        return otel_context.get_current
    get: Callable[[], Any] = runtime._current_context.get
    return get


current_context: Final = _current_context()
"""Return the caller's OpenTelemetry context."""


def suppressed(context: Any) -> bool:
    """Whether somebody asked instrumentations to be silent in this context."""
    if SUPPRESS not in context and PLAIN not in context:
        return False
    return bool(context.get(SUPPRESS) or context.get(PLAIN))


_SPAN: Final[str | None] = getattr(trace_propagation, "_SPAN_KEY", None)
"""Where `opentelemetry.trace` keeps the current span in a context."""
_last: tuple[Any, TraceParent | None, type[Any]] = (None, None, NonRecordingSpan)
"""The latest span's context, what was made of it, and a type that is known to be a span's."""


def parent_of(context: Any) -> TraceParent | None:
    """Return the span that is current in this context, None where there is none."""
    global _last
    known, parent, kind = _last
    # As `trace.get_current_span` does it, in one frame.
    span = trace.get_current_span(context) if _SPAN is None else context.get(_SPAN)
    if type(span) is not kind:
        if not isinstance(span, trace.Span):
            return None
        kind = type(span)
    span_context = span.get_span_context()
    if known is not span_context:
        parent = _parent_in(span_context)
        _last = (span_context, parent, kind)
    return parent


def is_recording(context: Any) -> bool:
    """Whether the span that is current in this context can still be written on."""
    span = trace.get_current_span(context) if _SPAN is None else context.get(_SPAN)
    return span is not None and bool(span.is_recording())


def _is_tuple_as_known() -> bool:
    """Whether a span's context is a tuple whose order is the one that `_parent_in` takes."""
    made: Any = SpanContext(1, 2, False, TraceFlags(1))
    return isinstance(made, tuple) and made[:4] == (1, 2, False, 1) and made[5:] == (True,)


_KNOWN: Final = SpanContext if _is_tuple_as_known() else None


def _parent_in(span_context: Any) -> TraceParent | None:
    if type(span_context) is _KNOWN:  # five properties less, each a call
        trace_id, span_id, _, flags, state, is_valid = span_context
    else:
        trace_id, span_id = span_context.trace_id, span_context.span_id
        flags, state = span_context.trace_flags, span_context.trace_state
        is_valid = span_context.is_valid
    if not is_valid:
        return None
    header = "" if state is DEFAULT_TRACE_STATE or not state else state.to_header()
    return TraceParent(trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big"), int(flags), header)


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


def enter(watch: Watch, event: Event, caller: Any) -> None:
    """Enter an event that is about to be published, where it belongs to LLM work."""
    ledger = watch.ledger(caller)
    if ledger is not None:
        ledger.enter(event)


class Guard(Swallowing):
    """Takes what went wrong in our own code while the application was in a call of its own."""

    def __init__(self) -> None:
        super().__init__("source", _log)

    def caught(self, error: BaseException, *_: object) -> None:
        """Take note of an error that the application must not see. Never raises."""
        said = "A database event was not told (%d so far; the application is not affected)"
        super().caught(error, said, self.errors + 1)

    def noted(self, error: Exception) -> None:
        """Take note of an error in a finalizer: no lock is taken there, and nothing logged."""
        told("source", error)
        self.errors += 1
        self.last = type(error).__name__


guard = Guard()
