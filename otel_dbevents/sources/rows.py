"""Rows as the application reads them: a fetch strategy that counts, and tells when all is read.

SQLAlchemy lets an execution context choose how its result fetches from the cursor
(``ExecutionContext.cursor_fetch_strategy``). These fetch as the ones of SQLAlchemy do whose place
they take: the default one, and the one that reads a stream in chunks.
"""

from collections import deque
from time import time_ns
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace
from sqlalchemy.engine.cursor import (
    BufferedRowCursorFetchStrategy,
    CursorFetchStrategy,
)

from otel_dbevents.events import (
    CodeLocation,
    QueryExecuted,
    QueryFailed,
    Statement,
    TraceParent,
)
from otel_dbevents.sources.explanation import Question, question_of
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.location import here
from otel_dbevents.sources.watch import ConnectionState, Watch, guard

_Query = TypeVar("_Query", QueryExecuted, QueryFailed)


class Remarks(NamedTuple):
    """What is to be said of a query besides what every query says."""

    said: tuple[CodeLocation | None, str, dict[str, Any] | None] = (None, "", None)
    """An event's ``called_from``, ``advice`` and ``attributes``."""
    id: bytes = b""
    """The event's id, where it was needed before there was an event."""
    question: Question | None = None
    """What a slow query's plan is asked for with, where anybody wants it."""

    def on(self, event: _Query) -> _Query:
        """Return the event with what is to be said of it."""
        place, advice, attributes = self.said
        said: dict[str, Any] = {"called_from": place, "advice": advice, "attributes": attributes}
        if not self.id:
            return replace(event, **said)
        if isinstance(event, QueryExecuted):
            said["propagated"] = True
        return replace(event, id=self.id, **said)

    def tell(self, watch: Watch, event: QueryExecuted, context: Any) -> None:
        """Publish the event with what is to be said of it, and have it explained after that."""
        told = self.on(event)
        watch.publish(told, context)
        if self.question is not None:
            watch.explainer.offer(watch, told, self.question, context)


NOTHING = Remarks()


class Reading:
    """A result on its way to the application. Tells of its query once, when it is done."""

    __slots__ = (
        "__weakref__",
        "batch_size",
        "context",
        "duration_ns",
        "end_time_ns",
        "first_row_ns",
        "parent",
        "reading_ns",
        "remarks",
        "rows",
        "state",
        "statement",
        "watch",
    )

    def __init__(
        self,
        watch: Watch,
        state: ConnectionState,
        parent: TraceParent | None,
        context: Any,
        end_time_ns: int,
        duration_ns: int,
        statement: Statement,
        batch_size: int,
        remarks: Remarks = NOTHING,
    ) -> None:
        self.watch: Watch | None = watch
        self.state = state
        self.parent = parent
        self.context = context
        self.end_time_ns = end_time_ns
        self.duration_ns = duration_ns
        self.statement = statement
        self.batch_size = batch_size
        self.remarks = remarks
        self.rows = 0
        self.reading_ns = 0
        """Time in the driver's own fetching; single rows after the first are not timed."""
        self.first_row_ns = -1
        """Time until the first rows of a stream were there."""
        state.results.add(self)

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
        telling.
        """
        watch, self.watch = self.watch, None
        if watch is None:
            return
        try:
            self.state.results.discard(self)
            now = time_ns()
            read_ns = now - self.end_time_ns
            if read_ns < 0:  # the clock was set back
                read_ns = self.reading_ns = 0
            if failed is not None:
                self.state.failed = True
                spent_ns = self.duration_ns + read_ns
                self._look(watch, spent_ns, in_call)
                watch.publish(self._failed(watch, now, spent_ns, failed, lost), self.context)
                return
            if self.reading_ns >= watch.slow_ns - self.duration_ns:
                self._look(watch, self.duration_ns + self.reading_ns, in_call)
                self._ask(watch, result, question)
            event = QueryExecuted(
                watch.database,
                self.parent,
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
            if self.remarks is NOTHING:
                watch.publish(event, self.context)
            else:
                self.remarks.tell(watch, event, self.context)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

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
                self.parent,
                now,
                duration_ns,
                self.statement,
                describe(error, messages=watch.messages, disconnect=lost),
                self.batch_size,
            )
        )


class CountingFetch(CursorFetchStrategy):
    """Fetches as SQLAlchemy's default does, counts the rows and ends the reading."""

    __slots__ = ("_reading",)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        """Fetch one row."""
        reading = self._reading
        try:
            if reading.rows:
                row = dbapi_cursor.fetchone()
            else:  # the first may be what takes the time
                start = time_ns()
                row = dbapi_cursor.fetchone()
                reading.reading_ns += time_ns() - start
            if row is None:
                result._soft_close(hard=hard_close)
            else:
                reading.rows += 1
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy's own handling raises it
            self.handle_exception(result, dbapi_cursor, error)
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        """Fetch some rows."""
        reading, start = self._reading, time_ns()
        try:
            rows = dbapi_cursor.fetchmany() if size is None else dbapi_cursor.fetchmany(size)
            reading.reading_ns += time_ns() - start
            reading.rows += len(rows)
            if not rows:
                result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        """Fetch the rows that are left."""
        reading, start = self._reading, time_ns()
        try:
            rows = dbapi_cursor.fetchall()
            reading.reading_ns += time_ns() - start
            reading.rows += len(rows)
            result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        """Go on in chunks of ``num`` rows."""
        options = {"max_row_buffer": num}
        result.cursor_strategy = CountingStream(
            self._reading, dbapi_cursor, options, growth_factor=0
        )

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: all rows are read, or nobody wants the rest."""
        super().soft_close(result, dbapi_cursor)
        self._reading.done(None, result)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: the result was closed."""
        super().hard_close(result, dbapi_cursor)
        self._reading.done(None, result)

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        """Tell that reading failed, and let SQLAlchemy raise."""
        self._reading.fail(err, result.connection, dbapi_cursor)
        super().handle_exception(result, dbapi_cursor, err)

    def __del__(self) -> None:
        """End the reading of a result that nobody closed.

        Where no row went through here, another strategy may have been put in our place: then the
        number of rows is not known.
        """
        if not self._reading.rows:
            self._reading.rows = -1
        self._reading.done(in_call=False)


class CountingStream(BufferedRowCursorFetchStrategy):
    """The same for a result that is read in chunks (``stream_results``, ``yield_per``)."""

    __slots__ = ("_closed", "_question", "_reading", "_unread")

    def __init__(
        self, reading: Reading, dbapi_cursor: Any, options: Any, *, growth_factor: int = 5
    ) -> None:
        super().__init__(dbapi_cursor, options, growth_factor, initial_buffer=deque())
        self._reading = reading
        self._closed = False
        self._question: Question | None = None
        self._unread = dbapi_cursor if growth_factor else None
        """The cursor of a stream that was not begun."""

    @property
    def alternate_cursor_description(self) -> None:  # type: ignore[override]
        """Fetch a stream's first row when the result is set up, as SQLAlchemy does then.

        Some cursors know their columns only after that.
        """
        cursor, self._unread = self._unread, None
        if cursor is None:
            return
        start = time_ns()
        try:
            self._rowbuffer.extend(cursor.fetchmany(1))
        except BaseException as error:
            self._reading.fail(error, getattr(cursor, "connection", None), cursor)
            raise
        self._spent(start)

    def _buffer_rows(self, result: Any, dbapi_cursor: Any) -> None:
        start = time_ns()
        super()._buffer_rows(result, dbapi_cursor)
        self._spent(start)

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        """Fetch one row."""
        row = super().fetchone(result, dbapi_cursor, hard_close)
        return self._count(row, 0 if row is None else 1)

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        """Fetch some rows."""
        if size is None:
            return self.fetchall(result, dbapi_cursor)
        start = time_ns()
        rows = super().fetchmany(result, dbapi_cursor, size)
        self._spent(start)
        return self._count(rows, len(rows))

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        """Fetch the rows that are left."""
        start = time_ns()
        rows = super().fetchall(result, dbapi_cursor)
        self._spent(start)
        return self._count(rows, len(rows))

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        """Note that all rows are read; the last of them are counted after this."""
        super().soft_close(result, dbapi_cursor)
        self._closed = True
        watch = self._reading.watch
        if watch is not None and watch.explainer is not None:
            # Not the execution context itself: it leads to this strategy.
            self._question = question_of(result.context)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: the result was closed."""
        super().hard_close(result, dbapi_cursor)
        self._reading.done(None, result)

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        """Tell that reading failed, and let SQLAlchemy raise."""
        self._reading.fail(err, result.connection, dbapi_cursor)
        super().handle_exception(result, dbapi_cursor, err)

    def _spent(self, start: int) -> None:
        """Add the time since ``start`` to what the driver took; the first time it is told apart."""
        reading, now = self._reading, time_ns()
        reading.reading_ns += max(0, now - start)
        if reading.first_row_ns < 0:
            reading.first_row_ns = max(0, now - reading.end_time_ns)

    def _count(self, fetched: Any, rows: int) -> Any:
        self._reading.rows += rows
        if self._closed:
            self._reading.done(question=self._question)
        return fetched

    def __del__(self) -> None:
        """End the reading of a result that nobody closed."""
        self._reading.done(in_call=False)


def counting_fetch(reading: Reading, cursor: Any, context: Any) -> CursorFetchStrategy:
    """Return the strategy that counts, for a result that SQLAlchemy may read as a stream.

    Which it does is decided in ``DefaultExecutionContext._setup_result_proxy``.
    """
    options = context.execution_options
    asked = options.get("stream_results", False) and not (context.is_crud or context.is_text)
    if context._is_server_side or asked:
        return CountingStream(reading, cursor, options)
    return CountingFetch(reading)
