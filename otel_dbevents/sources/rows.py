"""Rows as the application reads them: a fetch strategy that counts, and tells when all is read.

SQLAlchemy lets an execution context choose how its result fetches from the cursor
(``ExecutionContext.cursor_fetch_strategy``). This one fetches as the default does.
"""

from collections import deque
from time import time_ns
from typing import Any

from sqlalchemy.engine.cursor import (
    _DEFAULT_FETCH,
    BufferedRowCursorFetchStrategy,
    CursorFetchStrategy,
)

from otel_dbevents.events import QueryExecuted, QueryFailed, Statement, TraceParent
from otel_dbevents.sources.failure import describe
from otel_dbevents.sources.watch import ConnectionState, Watch, guard


class Reading:
    """A result on its way to the application. Tells of its query once, when it is done."""

    __slots__ = (
        "__weakref__",
        "batch_size",
        "context",
        "duration_ns",
        "end_time_ns",
        "parent",
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
    ) -> None:
        self.watch: Watch | None = watch
        self.state = state
        self.parent = parent
        self.context = context
        self.end_time_ns = end_time_ns
        self.duration_ns = duration_ns
        self.statement = statement
        self.batch_size = batch_size
        self.rows = 0
        state.results.add(self)

    def done(self, failed: BaseException | None = None) -> None:
        """Tell of the query. What comes after the first call is ignored."""
        watch, self.watch = self.watch, None
        if watch is None:
            return
        try:
            self.state.results.discard(self)
            now = time_ns()
            if failed is None:
                event: QueryExecuted | QueryFailed = QueryExecuted(
                    watch.database,
                    self.parent,
                    self.end_time_ns,
                    self.duration_ns,
                    self.statement,
                    self.batch_size,
                    self.rows,
                    -1,
                    max(0, now - self.end_time_ns),
                )
            else:
                self.state.failed = True
                event = QueryFailed(
                    watch.database,
                    self.parent,
                    now,
                    max(0, now - self.end_time_ns + self.duration_ns),
                    self.statement,
                    describe(failed, messages=watch.messages),
                    self.batch_size,
                )
            watch.publish(event, self.context)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)


class CountingFetch(CursorFetchStrategy):
    """Fetches as SQLAlchemy's default does, counts the rows and ends the reading."""

    __slots__ = ("_reading",)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        """Fetch one row."""
        try:
            row = dbapi_cursor.fetchone()
            if row is None:
                result._soft_close(hard=hard_close)
            else:
                self._reading.rows += 1
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy's own handling raises it
            self.handle_exception(result, dbapi_cursor, error)
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        """Fetch some rows."""
        try:
            rows = dbapi_cursor.fetchmany() if size is None else dbapi_cursor.fetchmany(size)
            self._reading.rows += len(rows)
            if not rows:
                result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        """Fetch the rows that are left."""
        try:
            rows = dbapi_cursor.fetchall()
            self._reading.rows += len(rows)
            result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        """Go on in chunks of ``num`` rows."""
        result.cursor_strategy = CountingBufferedFetch(self._reading, dbapi_cursor, num)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: all rows are read, or nobody wants the rest."""
        super().soft_close(result, dbapi_cursor)
        self._reading.done()

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: the result was closed."""
        super().hard_close(result, dbapi_cursor)
        self._reading.done()

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        """Tell that reading failed, and let SQLAlchemy raise."""
        self._reading.done(failed=err)
        super().handle_exception(result, dbapi_cursor, err)

    def __del__(self) -> None:
        """End the reading of a result that nobody closed.

        Where no row went through here, another strategy may have been put in our place: then the
        number of rows is not known.
        """
        if not self._reading.rows:
            self._reading.rows = -1
        self._reading.done()


class CountingBufferedFetch(BufferedRowCursorFetchStrategy):
    """The same for a result that is read in chunks (``yield_per``)."""

    __slots__ = ("_closed", "_reading")

    def __init__(self, reading: Reading, dbapi_cursor: Any, num: int) -> None:
        super().__init__(
            dbapi_cursor, {"max_row_buffer": num}, growth_factor=0, initial_buffer=deque()
        )
        self._reading = reading
        self._closed = False

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        """Fetch one row."""
        row = super().fetchone(result, dbapi_cursor, hard_close)
        return self._count(row, 0 if row is None else 1)

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        """Fetch some rows."""
        rows = super().fetchmany(result, dbapi_cursor, size)
        # without a size the parent class answers by fetchall, which has counted them
        return self._count(rows, 0 if size is None else len(rows))

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        """Fetch the rows that are left."""
        rows = super().fetchall(result, dbapi_cursor)
        return self._count(rows, len(rows))

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        """Note that all rows are read; the last of them are counted after this."""
        super().soft_close(result, dbapi_cursor)
        self._closed = True

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        """End the reading: the result was closed."""
        super().hard_close(result, dbapi_cursor)
        self._reading.done()

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        """Tell that reading failed, and let SQLAlchemy raise."""
        self._reading.done(failed=err)
        super().handle_exception(result, dbapi_cursor, err)

    def _count(self, fetched: Any, rows: int) -> Any:
        self._reading.rows += rows
        if self._closed:
            self._reading.done()
        return fetched

    def __del__(self) -> None:
        """End the reading of a result that nobody closed."""
        self._reading.done()


def can_count(context: Any) -> bool:
    """Whether this execution's result fetches in the default way, so that rows can be counted."""
    return (
        context.cursor_fetch_strategy is _DEFAULT_FETCH
        and not context._is_server_side
        and not context.execution_options.get("stream_results", False)
    )
