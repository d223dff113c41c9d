"""Rows as the application reads them: a fetch strategy that counts, and tells when all is read.

SQLAlchemy lets an execution context choose how its result fetches from the cursor
(``ExecutionContext.cursor_fetch_strategy``). These fetch as the ones of SQLAlchemy do whose place
they take: the default one, and the one that reads a stream in chunks.
"""

from collections import deque
from time import time_ns
from typing import Any

from sqlalchemy.engine.cursor import (
    _NO_CURSOR_DQL,
    BufferedRowCursorFetchStrategy,
    CursorFetchStrategy,
)

from otel_dbevents.sources.explain.question import Question, question_of
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.reading import Reading


class CountingFetch(Reading, CursorFetchStrategy):
    """A reading that fetches as SQLAlchemy's default does, counts the rows, and ends itself."""

    __slots__ = ()

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        """Fetch one row."""
        try:
            if self.rows:
                row = dbapi_cursor.fetchone()
            else:  # the first may be what takes the time
                start = time_ns()
                row = dbapi_cursor.fetchone()
                self.reading_ns += time_ns() - start
            if row is None:
                result._soft_close(hard=hard_close)
            else:
                self.rows += 1
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy's own handling raises it
            self.handle_exception(result, dbapi_cursor, error)
        return row

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        """Fetch some rows."""
        start = time_ns()
        try:
            rows = dbapi_cursor.fetchmany() if size is None else dbapi_cursor.fetchmany(size)
            self.reading_ns += time_ns() - start
            self.rows += len(rows)
            if not rows:
                result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        """Fetch the rows that are left."""
        start = time_ns()
        try:
            rows = dbapi_cursor.fetchall()
            now = time_ns()
            self.reading_ns += now - start
            self.rows += len(rows)
            self.ended(result, now)
            result._soft_close()
        except BaseException as error:  # noqa: BLE001
            self.handle_exception(result, dbapi_cursor, error)
        return rows

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        """Go on in chunks of ``num`` rows."""
        options = {"max_row_buffer": num}
        self.more().unread = 0
        result.cursor_strategy = CountingStream(self, dbapi_cursor, options, growth_factor=0)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:  # noqa: ARG002
        """End the reading: all rows are read, or nobody wants the rest."""
        result.cursor_strategy = _NO_CURSOR_DQL
        if self.watch is not None:
            self.ended(result, time_ns())

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:  # noqa: ARG002
        """End the reading: the result was closed."""
        result.cursor_strategy = _NO_CURSOR_DQL
        if self.watch is not None:
            self.ended(result, time_ns())

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        """Tell that reading failed, and let SQLAlchemy raise."""
        self.fail(err, result.connection, dbapi_cursor)
        CursorFetchStrategy.handle_exception(self, result, dbapi_cursor, err)

    def __del__(self) -> None:
        """End the reading of a result that nobody closed."""
        try:
            if self.watch is not None:
                if not self.rows:
                    self.rows = -1 if self.beside is None else self.beside.unread
                self.done(in_call=False)
        except (AttributeError, TypeError):  # Ctrl-C came before it was set up, or nothing of
            return  # ours is there any more: the interpreter ends


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
            try:
                # Not the execution context itself: it leads to this strategy.
                self._question = question_of(result.context)
            except Exception as error:  # noqa: BLE001 - the application must not see it
                guard.caught(error)

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
        beside = reading.beside
        if beside is not None and beside.first_row_ns < 0:
            beside.first_row_ns = max(0, now - reading.end_time_ns)

    def _count(self, fetched: Any, rows: int) -> Any:
        self._reading.rows += rows
        if self._closed:
            self._reading.done(question=self._question)
        return fetched

    def __del__(self) -> None:
        """End the reading of a result that nobody closed."""
        try:
            self._reading.done(in_call=False)
        except (AttributeError, TypeError):  # as `CountingFetch`
            return


def counting_fetch(reading: CountingFetch, cursor: Any, context: Any) -> CursorFetchStrategy:
    """Return the strategy that counts, for a result that SQLAlchemy may read as a stream.

    Which it does is decided in ``DefaultExecutionContext._setup_result_proxy``.
    """
    options = context.execution_options
    asked = options.get("stream_results", False) and not (context.is_crud or context.is_text)
    if context._is_server_side or asked:
        reading.more().unread = 0
        return CountingStream(reading, cursor, options)
    return reading
