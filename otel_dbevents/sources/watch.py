"""What is known of one engine while it is listened to: what its connections share."""

import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry import trace
from sqlalchemy.engine import Engine

from otel_dbevents.drafts import Draft
from otel_dbevents.events import Database, Event, Failure, Statement
from otel_dbevents.living import Living
from otel_dbevents.sources.caller import SPAN
from otel_dbevents.sources.handing import Defer, FindLedger, Ledger, Publish, at_once, no_ledger

WATCH_KEY: Final = "_otel_dbevents"
"""Where an engine's watch lives: in its dialect, which all its option engines share."""

Runs: TypeAlias = list[Any]
"""What ran, statement by statement; of many how often each did (`Watch.counts`)."""

_NEVER = 2**63
_MOST_RUNS = 5_000


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
        self.defer: Defer = defer or at_once(publish)
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
        self._surroundings: Any = None
        self.instrumentor = ""
        """The module of the driver's own instrumentor: it may be imported at any time."""
        self.explainer: Any = None
        """Who asks for the plans of slow queries, where it was wished for (`sources.explain`)."""
        self.active = True
        self.recognised = False
        """Whether the database is known as the engine knows it after it spoke to the server."""
        self.engine = weakref.ref(engine)
        self.records: Living[Any] = Living()
        """SQLAlchemy's records of the connections that were seen: what is open and in use is read
        from them."""
        self.proxies: Living[Any] = Living()
        """What a `StaticPool` gave: several may hold its one connection."""
        self.pending: deque[None] = deque()
        """One entry for each thread or task that is waiting for a connection."""
        self.methods: dict[str, Callable[..., Any]] = {}
        """What stands in the place of the dialect's own methods."""
        self.is_failing = False
        """Whether the last connection attempt failed."""
        self.failures = count()
        """Failed connection attempts since the last success."""
        self.pings: dict[int, Failure] = {}
        """Why pings failed, by the identity of the driver's connection, until that is told."""
        self.pinged: dict[int, int] = {}
        """What others took (ns), until the connection is given out: that is no wait for it."""

    def enter(self, draft: Draft, ledger: Ledger) -> None:
        """Publish what belongs to LLM work: it is entered, and so made at once."""
        for event in draft.events():
            ledger.enter(event)
            self.publish(event, draft.context)

    def runs_under(self, caller: Any) -> Runs | None:
        """Return what ran under the span of a context; None where that is not counted."""
        if not self.repeated:
            return None
        span = trace.get_current_span(caller) if SPAN is None else caller.get(SPAN)
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

    def succeeded(self) -> None:
        """Count failed connection attempts anew."""
        self.is_failing, self.failures = False, count()

    def surround(self, surroundings: Any) -> None:
        """Take what may be done around each call, and look whether anything is."""
        self._surroundings, self.instrumentor = surroundings, surroundings.module
        self.look_around()

    def look_around(self) -> None:
        """Look anew what is to be done around each call: at the beginning and when connecting."""
        surroundings = self._surroundings
        self.around = None if surroundings is None else surroundings.if_needed()


def enter(watch: Watch, event: Event, caller: Any) -> None:
    """Enter an event that is about to be published, where it belongs to LLM work."""
    ledger = watch.ledger(caller)
    if ledger is not None:
        ledger.enter(event)
