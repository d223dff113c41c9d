"""Statements: the dialect's own calls of the driver, each told of once.

Start and end are taken in one frame around the driver's call, and its exception is seen as the
driver raised it. No listener of SQLAlchemy is used: one of them on an engine makes every statement
walk all engine events, and ``after_cursor_execute`` and ``handle_error`` can both be missed.
"""

from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any

from opentelemetry import context as otel_context
from sqlalchemy.engine.interfaces import ExecuteStyle

from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.failure import describe
from otel_dbevents.sources.rows import CountingFetch, Reading, can_count
from otel_dbevents.sources.statement import Statements
from otel_dbevents.sources.watch import (
    ConnectionState,
    Watch,
    guard,
    is_connecting,
    parent_of,
    state_of,
    suppressed,
)

_BATCH = "_otel_dbevents_batch_size"


class QuerySource:
    """Makes `QueryExecuted` and `QueryFailed` of what one dialect executes."""

    def __init__(self, watch: Watch, dialect: Any) -> None:
        self._watch = watch
        self._statements = Statements(dialect.name)
        self.methods: dict[str, Callable[..., Any]] = {
            "do_execute": self._execute(dialect.do_execute, many=False),
            "do_execute_no_params": self._execute_no_params(dialect.do_execute_no_params),
            "do_executemany": self._execute(dialect.do_executemany, many=True),
        }
        """What takes the place of the dialect's methods, by their names."""
        deliver = getattr(dialect, "_deliver_insertmanyvalues_batches", None)
        if deliver is not None:
            self.methods["_deliver_insertmanyvalues_batches"] = _deliver(deliver)

    def _execute(self, driver_call: Callable[..., Any], *, many: bool) -> Callable[..., Any]:
        watch, told, failed = self._watch, self._executed, self._failed

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            start = time_ns()
            try:
                driver_call(cursor, statement, parameters, context)
            except BaseException as error:
                if watch.active:
                    failed(error, start, statement, context, parameters if many else None)
                raise
            if watch.active:
                end = time_ns()
                told(start, end, cursor, statement, context, parameters if many else None)

        return do_execute

    def _execute_no_params(self, driver_call: Callable[..., Any]) -> Callable[..., Any]:
        watch, told, failed = self._watch, self._executed, self._failed

        def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
            start = time_ns()
            try:
                driver_call(cursor, statement, context)
            except BaseException as error:
                if watch.active:
                    failed(error, start, statement, context, None)
                raise
            if watch.active:
                told(start, time_ns(), cursor, statement, context, None)

        return do_execute_no_params

    def _executed(
        self, start: int, end: int, cursor: Any, sql: str, context: Any, batch: Any
    ) -> None:
        try:
            caller = otel_context.get_current()
            state = _connection_state(self._watch, context)
            if state is None or suppressed(caller):
                return
            known = self._statements.find(sql, context)
            statement = known.statement
            _note(state, start, statement.writes, context)
            parent = parent_of(caller)
            batch_size = _batch_size(context, batch)
            returns_rows = known.returns_rows
            if returns_rows is None:
                returns_rows = cursor.description is not None
            duration = max(0, end - start)
            affected = -1
            if returns_rows and _BATCH not in context.__dict__ and can_count(context):
                context.cursor_fetch_strategy = CountingFetch(
                    Reading(
                        self._watch, state, parent, caller, end, duration, statement, batch_size
                    )
                )
                return
            if not returns_rows:
                affected = cursor.rowcount
            self._watch.publish(
                QueryExecuted(
                    self._watch.database,
                    parent,
                    end,
                    duration,
                    statement,
                    batch_size,
                    -1,
                    affected if isinstance(affected, int) else -1,
                ),
                caller,
            )
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _failed(self, error: BaseException, start: int, sql: str, context: Any, batch: Any) -> None:
        end = time_ns()
        try:
            caller = otel_context.get_current()
            state = _connection_state(self._watch, context)
            if state is None or suppressed(caller):
                return
            statement = self._statements.find(sql, context).statement
            _note(state, start, statement.writes, context)
            state.failed = True
            self._watch.publish(
                QueryFailed(
                    self._watch.database,
                    parent_of(caller),
                    end,
                    max(0, end - start),
                    statement,
                    describe(error, messages=self._watch.messages),
                    _batch_size(context, batch),
                ),
                caller,
            )
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.caught(own)


def _connection_state(watch: Watch, context: Any) -> ConnectionState | None:
    """Return the connection's state, or None for what SQLAlchemy runs while it connects."""
    if context is None:
        return None
    connection = context.root_connection.connection
    return None if is_connecting(connection) else state_of(watch, connection)


def _batch_size(context: Any, batch: Any) -> int:
    """Return how many rows one call of the driver was for."""
    size: int = context.__dict__.get(_BATCH, 1) if batch is None else len(batch)
    return size


def _note(state: ConnectionState, start: int, writes: bool, context: Any) -> None:
    """Add a statement to the connection's transaction, which it may begin."""
    if not state.transaction_ns:
        state.transaction_ns = start
        state.autocommit = context.root_connection._is_autocommit_isolation()
    state.statements += 1
    if writes:
        state.wrote = True


def _deliver(deliver: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Note the true number of rows of each batch that ``insertmanyvalues`` sends."""

    def batches(*arguments: Any) -> Iterator[Any]:
        context = arguments[-1]
        many = getattr(context, "execute_style", None) is ExecuteStyle.INSERTMANYVALUES
        for batch in deliver(*arguments):
            if many and hasattr(batch, "batch"):
                context.__dict__[_BATCH] = len(batch.batch)
            yield batch

    return batches
