"""The roll-up: what database work was done below one span, added up event by event."""

from typing import Any, Final, NamedTuple

from msgspec import Struct

from otel_dbevents.events import (
    CheckoutTimedOut,
    CodeLocation,
    CommitFailed,
    ConnectionCheckedOut,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    Event,
    QueryExecuted,
    QueryFailed,
    RollbackFailed,
    Statement,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.llm.intervals import Intervals

_ERRORS: Final = frozenset(
    {QueryFailed, CommitFailed, RollbackFailed, DatabaseConnectionFailed, CheckoutTimedOut}
)
_CALLS: Final = _ERRORS | {
    DatabaseConnectionEstablished,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
}
_WAIT_NS: Final = 1_000_000
_MOST_RUNS: Final = 2_000
_MOST_GENERATIONS: Final = 1_000


class Caused(NamedTuple):
    """How many queries a generation caused, and how long the database worked for it in all.

    ``time_ns`` is in nanoseconds. ``public_key`` says which Langfuse client made the generation,
    where one did; it is known when the turn has ended.
    """

    query_count: int
    time_ns: int
    public_key: str | None = None


class Repeated(NamedTuple):
    """The statement that ran most often under one span, and a place in the application's code."""

    runs: int
    statement: Statement
    called_from: CodeLocation | None


class RollUp(Struct, frozen=True):
    """The database work below an LLM span. Times are nanoseconds.

    ``time_ns`` adds up all time that the database was waited for: queries with their reading,
    COMMIT and ROLLBACK, opening connections, waiting for the pool. Of work that ran at the same
    time ``busy_ns`` counts the time once, so that it is never more than has passed.
    ``query_count`` and ``slowest`` are about queries alone, failed ones included. ``repeated`` is
    there from as many runs on as make a repeated query. ``by_generation`` says, by the id of its
    span, what each generation caused.
    """

    query_count: int = 0
    time_ns: int = 0
    busy_ns: int = 0
    error_count: int = 0
    slowest_ns: int = 0
    slowest: Statement | None = None
    repeated: Repeated | None = None
    by_generation: dict[bytes, Caused] = {}


class Work(NamedTuple):
    """One event, as far as a roll-up is concerned."""

    start_ns: int
    end_ns: int
    query: QueryExecuted | QueryFailed | None
    is_error: bool
    generation: bytes | None


def work_of(event: Any) -> Work | None:
    """Return the work that an event tells of; None where it is none, or its time is not known."""
    kind: type[Event] = type(event)
    generation = None if event.llm is None else event.llm.generation_id
    end: int = event.end_time_ns
    if kind is QueryExecuted:
        # The reading went on in pieces after the call; as one it takes as much.
        start, end = end - event.duration_ns, end + min(event.reading_ns, event.fetch_ns)
        return Work(start, end, event, False, generation)
    if kind is ConnectionCheckedOut:
        # What the opening took has an event of its own.
        waited = event.duration_ns - event.create_ns
        start = end - event.duration_ns
        return None if waited < _WAIT_NS else Work(start, start + waited, None, False, generation)
    if kind in _CALLS:
        query = event if kind is QueryFailed else None
        start = end - max(0, event.duration_ns)
        return Work(start, end, query, kind in _ERRORS, generation)
    return None


class Totals:
    """What a roll-up is made of. Its memory is bounded."""

    __slots__ = (
        "_busy",
        "_errors",
        "_generations",
        "_queries",
        "_runs",
        "_slowest",
        "_slowest_ns",
        "_time_ns",
    )

    def __init__(self) -> None:
        self._busy = Intervals()
        self._errors = self._queries = self._time_ns = 0
        self._slowest_ns = -1
        self._slowest: Statement | None = None
        self._runs: dict[tuple[bytes, str], Repeated] = {}
        self._generations: dict[bytes, Caused] = {}

    def add(self, work: Work) -> None:
        """Add one event's work."""
        spent = work.end_ns - work.start_ns
        self._time_ns += spent
        self._busy.add(work.start_ns, work.end_ns)
        if work.is_error:
            self._errors += 1
        query = work.query
        if work.generation is not None:
            self._caused(work.generation, int(query is not None), spent)
        if query is None:
            return
        self._queries += 1
        if spent > self._slowest_ns:
            self._slowest_ns, self._slowest = spent, query.statement
        self._ran(query)

    def roll_up(self, repeated: int) -> RollUp:
        """Return the roll-up; from ``repeated`` runs on a statement is a repeated one, 0: never."""
        most = max(self._runs.values(), key=lambda run: run.runs, default=None)
        if most is None or not 0 < repeated <= most.runs:
            most = None
        return RollUp(
            self._queries,
            self._time_ns,
            self._busy.total_ns,
            self._errors,
            max(0, self._slowest_ns),
            self._slowest,
            most,
            dict(self._generations),
        )

    def _ran(self, query: QueryExecuted | QueryFailed) -> None:
        """Count the runs of a statement under one span, as it is judged which are repeated."""
        statement, parent, runs = query.statement, query.parent, self._runs
        if parent is None:
            return
        key = parent.span_id, statement.query_text
        count, _, place = runs.get(key) or (0, statement, None)
        if count == 0 and len(runs) >= _MOST_RUNS:
            self._forget_singles()
        runs[key] = Repeated(count + 1, statement, query.called_from or place)

    def _forget_singles(self) -> None:
        runs = self._runs
        most = max(runs.items(), key=lambda run: run[1].runs)
        self._runs = {key: run for key, run in runs.items() if run.runs > 1}
        if len(self._runs) >= _MOST_RUNS:
            self._runs = dict([most])

    def _caused(self, generation: bytes, queries: int, spent_ns: int) -> None:
        known = self._generations.get(generation)
        if known is not None:
            self._generations[generation] = Caused(known[0] + queries, known[1] + spent_ns)
        elif len(self._generations) < _MOST_GENERATIONS:
            self._generations[generation] = Caused(queries, spent_ns)
