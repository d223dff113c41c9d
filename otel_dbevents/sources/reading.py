"""A result on its way to the application, and what is to be said of its query besides.

A query is told when its result is done; until then a `Reading` keeps what is known of it. It is
told once, whoever says first that it is done: the last row, ``close()``, the garbage collector, or
the pool.
"""

from time import time_ns
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from otel_dbevents.events import (
    CodeLocation,
    LlmContext,
    QueryExecuted,
    QueryFailed,
    Statement,
)
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.explain.question import Question, question_of
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.location import here
from otel_dbevents.sources.watch import ConnectionState, Ledger, Watch, guard, parent_of

_Query = TypeVar("_Query", QueryExecuted, QueryFailed)


_NOTHING_SAID: Final = (None, "", None)


class Remarks(NamedTuple):
    """What is to be said of a query besides what every query says."""

    said: tuple[CodeLocation | None, str, dict[str, Any] | None] = _NOTHING_SAID
    """An event's ``called_from``, ``advice`` and ``attributes``."""
    id: bytes = b""
    """The event's id, where it was needed before there was an event."""
    question: Question | None = None
    """What a slow query's plan is asked for with, where anybody wants it."""

    def on(self, event: _Query) -> _Query:
        """Return the event with what is to be said of it."""
        if self.said == _NOTHING_SAID and not self.id:
            return event
        place, advice, attributes = self.said
        said: dict[str, Any] = {"called_from": place, "advice": advice, "attributes": attributes}
        if not self.id:
            return replace(event, **said)
        if isinstance(event, QueryExecuted):
            said["propagated"] = True
        return replace(event, id=self.id, **said)

    def tell(
        self,
        watch: Watch,
        event: QueryExecuted,
        context: Any,
        ledger: Ledger | None,
        cause: LlmContext | None = None,
        *,
        in_call: bool = True,
    ) -> None:
        """Publish the event with what is to be said of it, and have it explained after that."""
        told = event if self is NOTHING else self.on(event)
        if ledger is not None:
            ledger.enter(told, cause)
        (watch.publish if in_call else watch.from_finalizer)(told, context)
        if self.question is None:
            return
        offer = watch.explainer.offer if in_call else watch.explainer.leave
        offer(watch, told, self.question, context)


NOTHING = Remarks()


class Reading(Struct, eq=False, weakref=True):
    """A result on its way to the application. Tells of its query once, when it is done."""

    watch: Watch | None
    state: ConnectionState
    context: Any
    end_time_ns: int
    duration_ns: int
    statement: Statement
    batch_size: int = 1
    remarks: Remarks = NOTHING
    rows: int = 0
    reading_ns: int = 0
    """Time in the driver's own fetching; single rows after the first are not timed."""
    first_row_ns: int = -1
    """Time until the first rows of a stream were there."""
    ledger: Ledger | None = None
    cause: LlmContext | None = None
    """The generation that caused the query, where there is a ledger."""

    def ended(self, result: Any) -> None:
        """Tell of the query in the application's call: all rows are read, or nobody wants them.

        The same as `done`, and quicker where there is nothing remarkable about it.
        """
        watch = self.watch
        if watch is None:
            return
        if (
            self.remarks is not NOTHING
            or self.ledger is not None
            or self.batch_size != 1
            or self.first_row_ns >= 0
            or self.reading_ns >= watch.slow_ns - self.duration_ns
        ):
            self.done(None, result)
            return
        self.watch = None
        try:
            state, reading_ns = self.state, self.reading_ns
            latest = state.latest
            if latest is not None and latest() is self:
                state.latest = None
            elif state.others:
                state.others.pop(id(self), None)
            end = self.end_time_ns
            read_ns = time_ns() - end
            if read_ns < 0:  # the clock was set back
                read_ns = reading_ns = 0
            draft = QueryDraft(
                self.context,
                watch.database,
                self.statement,
                end,
                self.duration_ns,
                self.rows,
                -1,
                read_ns,
                reading_ns,
            )
            watch.defer(draft)
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
            latest = state.latest
            if latest is not None and latest() is self:
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
                if self.ledger is not None:
                    self.ledger.enter(event, self.cause)
                publish(event, self.context)
                return
            if self.reading_ns >= watch.slow_ns - self.duration_ns:
                self._look(watch, self.duration_ns + self.reading_ns, in_call)
                self._ask(watch, result, question)
            read = QueryExecuted(
                watch.database,
                parent_of(self.context),
                self.end_time_ns,
                self.duration_ns,
                self.statement,
                self.batch_size,
                self.rows,
                -1,
                read_ns,
                self.reading_ns,
                self.first_row_ns,
            )
            self.remarks.tell(watch, read, self.context, self.ledger, self.cause, in_call=in_call)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            (guard.caught if in_call else guard.noted)(error)

    def fail(self, error: BaseException, connection: Any, cursor: Any) -> None:
        """Tell that reading failed, and whether because the connection was lost."""
        engine = None if self.watch is None else self.watch.engine()
        lost = engine is not None and is_lost(engine.dialect, error, connection, cursor)
        self.done(failed=error, lost=lost)

    def _look(self, watch: Watch, spent_ns: int, in_call: bool) -> None:
        """Take note of the application's place, where the query turned out to be slow."""
        place, advice, attributes = self.remarks.said
        if in_call and place is None and spent_ns >= watch.slow_ns:
            self.remarks = self.remarks._replace(said=(here(), advice, attributes))

    def _ask(self, watch: Watch, result: Any, question: Question | None) -> None:
        """Take note of what the plan is asked for with, where the query was slow to read."""
        if watch.explainer is None or self.remarks.question is not None:
            return
        if question is None and result is not None:
            question = question_of(result.context)
        if question is not None:
            self.remarks = self.remarks._replace(question=question)

    def _failed(
        self, watch: Watch, now: int, duration_ns: int, error: BaseException, lost: bool
    ) -> QueryFailed:
        return self.remarks.on(
            QueryFailed(
                watch.database,
                parent_of(self.context),
                now,
                duration_ns,
                self.statement,
                describe(error, messages=watch.messages, disconnect=lost),
                self.batch_size,
            )
        )
