"""A result on its way to the application.

A query is told when its result is done; until then a `Reading` keeps what is known of it. It is
told once, whoever says first that it is done: the last row, ``close()``, the garbage collector, or
the pool.
"""

from time import time_ns
from typing import Any
from weakref import ref

from otel_dbevents.events import QueryExecuted, QueryFailed, Statement
from otel_dbevents.sources.beside import NOTHING_BESIDE, Beside
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.connection import ConnectionState
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.explain.question import Question, question_of
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.location import here
from otel_dbevents.sources.watch import Watch


class Reading:
    """A result on its way to the application. Tells of its query once, when it is done.

    One that was told of in the plainest way holds nothing any more, and is its connection's
    ``spare``: the next query's, if nobody else has it. To make one anew, with the weak reference to
    it and its end, costs more than all that is written in it.
    """

    __slots__ = (
        "__weakref__",
        "beside",
        "context",
        "duration_ns",
        "end_time_ns",
        "reading_ns",
        "reference",
        "rows",
        "state",
        "statement",
        "watch",
    )

    watch: Watch | None
    """None: it was told of."""
    state: ConnectionState
    context: Any
    statement: Statement
    end_time_ns: int
    duration_ns: int
    rows: int
    reading_ns: int
    """Time in the driver's own fetching; single rows after the first are not timed."""

    def __init__(self) -> None:
        self.watch = None
        self.reference = ref(self)
        self.beside: Beside | None = None

    def more(self) -> Beside:
        """Return what there is beside, which may be written on."""
        if self.beside is None:
            self.beside = Beside()
        return self.beside

    def ended(self, result: Any, now: int) -> None:
        """Tell of the query in the application's call: all rows are read, or nobody wants them.

        The same as `done`, and quicker where there is nothing remarkable about it. ``now``: when.
        """
        watch = self.watch
        if watch is None:
            return
        duration, reading_ns = self.duration_ns, self.reading_ns
        if self.beside is not None or duration + reading_ns >= watch.slow_ns:
            self.done(None, result)
            return
        self.watch = None
        try:
            state = self.state
            if state.latest is self.reference:
                state.latest = None
            elif state.others:
                state.others.pop(id(self), None)
            end = self.end_time_ns
            read_ns = now - end
            if read_ns < 0:  # the clock was set back
                read_ns = reading_ns = 0
            draft = QueryDraft(
                self.context,
                watch.database,
                self.statement,
                end,
                duration,
                self.rows,
                -1,
                read_ns,
                reading_ns,
            )
            watch.defer(draft)
            self.context = self.state = None  # type: ignore[assignment]  # nothing is kept alive
            if state.spare is None:
                state.spare = self
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def done(
        self,
        failed: BaseException | None = None,
        result: Any = None,
        *,
        lost: bool = False,
        question: Question | None = None,
        in_call: bool = True,
    ) -> None:
        """Tell of the query. What comes after the first call is ignored.

        ``lost``: the connection was lost, and so the query failed. ``result`` is SQLAlchemy's,
        where it was read to its end or closed, and ``question`` what was kept of it. ``in_call``:
        the application is in a call that has to do with this result, and so its place is worth
        telling; else a finalizer runs, which must not wait for anybody.
        """
        watch, self.watch = self.watch, None
        if watch is None:
            return
        try:
            state = self.state
            if state.latest is self.reference:
                state.latest = None
            elif state.others:
                state.others.pop(id(self), None)
            now = time_ns()
            read_ns = now - self.end_time_ns
            if read_ns < 0:  # the clock was set back
                read_ns = self.reading_ns = 0
            publish = watch.publish if in_call else watch.from_finalizer
            if failed is not None:
                state.failed = True
                spent_ns = self.duration_ns + read_ns
                self._look(watch, spent_ns, in_call)
                event = self._failed(watch, now, spent_ns, failed, lost)
                if self.beside is not None and self.beside.ledger is not None:
                    self.beside.ledger.enter(event, self.beside.cause)
                publish(event, self.context)
                return
            if self.reading_ns >= watch.slow_ns - self.duration_ns:
                self._look(watch, self.duration_ns + self.reading_ns, in_call)
                self._ask(watch, result, question)
            beside = self.beside or NOTHING_BESIDE
            read = QueryExecuted(
                watch.database,
                parent_of(self.context),
                self.end_time_ns,
                self.duration_ns,
                self.statement,
                beside.batch_size,
                self.rows,
                -1,
                read_ns,
                self.reading_ns,
                beside.first_row_ns,
            )
            beside.remarks.tell(
                watch, read, self.context, beside.ledger, beside.cause, in_call=in_call
            )
        except Exception as error:  # noqa: BLE001 - the application must not see it
            (guard.caught if in_call else guard.noted)(error)

    def fail(self, error: BaseException, connection: Any, cursor: Any) -> None:
        """Tell that reading failed, and whether because the connection was lost."""
        engine = None if self.watch is None else self.watch.engine()
        lost = engine is not None and is_lost(engine.dialect, error, connection, cursor)
        self.done(failed=error, lost=lost)

    def _look(self, watch: Watch, spent_ns: int, in_call: bool) -> None:
        """Take note of the application's place, where the query turned out to be slow."""
        if not in_call or spent_ns < watch.slow_ns:
            return
        remarks = self.more().remarks
        place, advice, attributes = remarks.said
        if place is None:
            self.more().remarks = remarks._replace(said=(here(), advice, attributes))

    def _ask(self, watch: Watch, result: Any, question: Question | None) -> None:
        """Take note of what the plan is asked for with, where the query was slow to read."""
        if watch.explainer is None or self.more().remarks.question is not None:
            return
        if question is None and result is not None:
            question = question_of(result.context)
        if question is not None:
            self.more().remarks = self.more().remarks._replace(question=question)

    def _failed(
        self, watch: Watch, now: int, duration_ns: int, error: BaseException, lost: bool
    ) -> QueryFailed:
        beside = self.beside or NOTHING_BESIDE
        return beside.remarks.on(
            QueryFailed(
                watch.database,
                parent_of(self.context),
                now,
                duration_ns,
                self.statement,
                describe(error, messages=watch.messages, disconnect=lost),
                beside.batch_size,
            )
        )
