"""Bursts: what one statement does again and again under one span on one database."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeAlias

from msgspec import Struct

from otel_dbevents.drafts import Within
from otel_dbevents.events import CodeLocation, Database, LlmContext, Statement, TraceParent

Run: TypeAlias = Any
"""The event of a query that ran under a span, or a `Noted`."""
Row: TypeAlias = tuple[Database, Statement, int, int, int]
"""What a burst needs of a query of which there is no event: when it ended, how long it took, and
how long its fetches did, in nanoseconds. It becomes a `Noted` where it is counted."""
_Key: TypeAlias = tuple[str, str, str]
"""Pool and database, and the statement's text."""
_Here: TypeAlias = "list[Run | Row] | dict[_Key, Burst]"
"""What ran under one span: as it came while it is little, then counted."""

_QUIET_NS: Final = 1_000_000_000
_GENERATION: Final = 2_000
_MOST_STATEMENTS: Final = 1_000


class Noted(Struct, gc=False):
    """A `Row`, as an event would say it."""

    parent: TraceParent
    database: Database
    statement: Statement
    end_time_ns: int
    duration_ns: int
    reading_ns: int

    llm: ClassVar[None] = None
    called_from: ClassVar[None] = None
    advice: ClassVar[str] = ""

    @property
    def spent_ns(self) -> int:
        """How long it took in all."""
        return self.duration_ns + self.reading_ns


class Burst:
    """The runs so far, of which ``first`` was the first, though it is not counted yet.

    ``context`` is that of the run which made it a burst, None before.
    """

    __slots__ = (
        "advice",
        "called_from",
        "context",
        "count",
        "database",
        "duration_ns",
        "end_time_ns",
        "key",
        "llm",
        "parent",
        "statement",
        "under",
    )

    def __init__(self, under: "dict[_Key, Burst]", key: _Key, first: Run) -> None:
        self.under, self.key = under, key
        self.context: Any = None
        self.database: Database = first.database
        self.parent: TraceParent = first.parent
        self.statement: Statement = first.statement
        self.llm: LlmContext | None = first.llm
        self.count = self.duration_ns = 0
        self.end_time_ns: int = first.end_time_ns
        self.called_from: CodeLocation | None = None
        self.advice = ""

    def add(self, run: Run) -> None:
        """Count a run."""
        self.count += 1
        self.duration_ns += run.spent_ns
        if run.end_time_ns > self.end_time_ns:
            self.end_time_ns = run.end_time_ns
        if run.advice or run.called_from is not None:
            self._note(run)

    def _note(self, run: Run) -> None:
        """Keep where a run came from and what would mend it, as far as it says so."""
        if run.advice or self.called_from is None:
            self.called_from = run.called_from or self.called_from
        self.advice = self.advice or run.advice


class Bursts:
    """The bursts that are open.

    ``over`` takes each one of at least ``least`` runs, once, when it has ended: there was no run
    for a second, or it is forgotten for want of room.

    Each query comes by here, and nearly all spans have fewer than ``least`` of them. So nothing is
    counted under a span that has not as many in all; and what is quiet is not looked for one by
    one: spans under which nothing ran in a whole generation (a second, or 2,000 other runs) are
    forgotten at once. Not safe for several threads.
    """

    def __init__(self, least: int, over: Callable[[Burst], None]) -> None:
        self._least, self._over = least, over
        self._since_ns = 0
        """When the young generation began."""
        self._begin()

    def __len__(self) -> int:
        """How many runs and bursts are kept."""
        return sum(len(here) for spans in (self._young, self._old) for here in spans.values())

    def add(self, run: Run, context: Any = None) -> Burst | None:
        """Count a run that has a parent; return its burst, None where there can be none yet.

        ``context`` is that of its call.
        """
        if run.parent is not self._parent:
            self._go_under(run.parent)
        here = self._here
        if type(here) is not list:
            return self._count(here, run, context)  # type: ignore[arg-type]
        here.append(run)
        return None if len(here) < self._least else self._count_all(here, run.parent, context)

    def room(self, parent: TraceParent) -> tuple[int, list[Run]]:
        """Return where runs under ``parent`` may be put by themselves, and how many.

        As long as nothing else is done here; those after them are for `add`.
        """
        if parent is not self._parent:
            self._go_under(parent)
        here = self._here
        return (self._least - 1 - len(here), here) if type(here) is list else (0, [])

    def add_all(self, rows: list[Row], within: Within, contexts: Sequence[Any]) -> int:
        """Count what was noted of runs, those that were under a span; return how many these are."""
        numbers, spans, starts = within
        young, old, least, number = self._young, self._old, self._least, 0
        for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            if not numbers[begin]:
                continue
            span = spans[numbers[begin] - 1]
            number += end - begin
            key = span[0], span[1]
            here = young.get(key)
            if here is None and end - begin < least and key not in old:  # mostly
                young[key] = rows[begin:end]
                continue
            here = self._under(key)
            if type(here) is list and len(here) + end - begin < least:
                here += rows[begin:end]
            else:
                parent = TraceParent(*span)
                for row in rows[begin:end]:
                    self.add(Noted(parent, *row), contexts[begin])
        return number

    def settle(self, runs: int, now_ns: int) -> None:
        """End what is quiet. Called after so many ``runs``, at the time of the last."""
        self._runs += runs
        if self._runs >= _GENERATION or abs(now_ns - self._since_ns) >= _QUIET_NS:
            self._turn(now_ns)
        if self._ripe:
            self.end_quiet(now_ns)

    def end_quiet(self, now_ns: int) -> None:
        """End those bursts that had no run for a second."""
        latest_ns = now_ns - _QUIET_NS
        for burst in [each for each in self._ripe if each.end_time_ns <= latest_ns]:
            self._end(burst)

    def end_all(self) -> None:
        """End all, and begin anew."""
        ripe = list(self._ripe)
        self._begin()
        for burst in ripe:
            self._over(burst)

    def _begin(self) -> None:
        self._runs = 0
        self._young: dict[tuple[bytes, bytes], _Here] = {}
        self._old: dict[tuple[bytes, bytes], _Here] = {}
        self._ripe: dict[Burst, None] = {}
        self._leave()

    def _leave(self) -> None:
        """Be under no span: what the last run's is has to be looked up."""
        self._parent: TraceParent | None = None
        self._here: _Here = []
        self._last: Burst | None = None

    def _go_under(self, parent: TraceParent) -> None:
        here = self._under((parent.trace_id, parent.span_id))
        self._parent, self._here, self._last = parent, here, None

    def _under(self, span: tuple[bytes, bytes]) -> _Here:
        here = self._young.get(span)
        if here is None:
            here = self._old.pop(span) if span in self._old else []
            self._young[span] = here
        return here

    def _count_all(self, runs: list[Run | Row], parent: TraceParent, context: Any) -> Burst | None:
        """Count what ran under the span until now, as from now on each run is."""
        here: dict[_Key, Burst] = {}
        self._young[parent.trace_id, parent.span_id] = self._here = here
        for run in runs:
            counted: Run = run
            if type(counted) is tuple:
                counted = Noted(parent, *counted)
            self._count(here, counted, context)
        return self._last

    def _count(self, here: dict[_Key, Burst], run: Run, context: Any) -> Burst:
        burst, database, statement = self._last, run.database, run.statement
        if burst is None or statement is not burst.statement or database is not burst.database:
            key = database.pool_name, database.namespace, statement.query_text
            burst = here.get(key)
            if burst is None:
                burst = self._begin_burst(here, key, run)
        # A run that began a second after the last one is of another burst.
        if burst.end_time_ns + _QUIET_NS <= run.end_time_ns - run.duration_ns:
            self._end(burst)
            burst = self._begin_burst(here, burst.key, run)
        burst.add(run)
        if burst.count == self._least:
            burst.context = context
            self._ripe[burst] = None
        self._last = burst
        return burst

    def _begin_burst(self, here: dict[_Key, Burst], key: _Key, first: Run) -> Burst:
        if len(here) >= _MOST_STATEMENTS:
            self._end(here[next(iter(here))])
        burst = here[key] = Burst(here, key, first)
        return burst

    def _turn(self, now_ns: int) -> None:
        """Begin a generation, and forget the one before the last."""
        for here in self._old.values():
            for burst in list(here.values()) if type(here) is dict else ():
                self._end(burst)
        self._old, self._young, self._since_ns, self._runs = self._young, {}, now_ns, 0
        self._leave()

    def _end(self, burst: Burst) -> None:
        burst.under.pop(burst.key, None)
        if burst is self._last:
            self._last = None
        if burst in self._ripe:
            del self._ripe[burst]
            self._over(burst)
