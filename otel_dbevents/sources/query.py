"""Statements: the dialect's own calls of the driver, each told of once.

Start and end are taken in one frame around the driver's call, and its exception is seen as the
driver raised it. No listener of SQLAlchemy is used: one of them on an engine makes every statement
walk all engine events, and ``after_cursor_execute`` and ``handle_error`` can both be missed.
"""

from collections.abc import Callable
from sys import getrefcount
from time import time_ns
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy.engine.cursor import _DEFAULT_FETCH
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool.base import _ConnectionFairy

from otel_dbevents.compat import has_gil
from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.around import Around, Call
from otel_dbevents.sources.beside import Beside, beside_with, remarks_on
from otel_dbevents.sources.caller import current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_KEY, begin, note, state_in
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.inserts import BATCHES, Batches, InsertSource
from otel_dbevents.sources.rows import CountingFetch, counting_fetch
from otel_dbevents.sources.statement import KNOWN, Statements
from otel_dbevents.sources.watch import Watch, enter


class QuerySource:
    """Makes `QueryExecuted` and `QueryFailed` of what one dialect executes."""

    def __init__(self, watch: Watch, dialect: Any) -> None:
        self._watch = watch
        self._dialect = dialect
        self._statements = Statements(dialect.name)
        inserts = InsertSource(watch, self._statements, self._failed)
        no_params = dialect.do_execute_no_params
        execute = self._execute(lambda c, sql, _parameters, ctx: no_params(c, sql, ctx), many=False)

        def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
            execute(cursor, statement, None, context)

        self.methods: dict[str, Callable[..., Any]] = {
            "do_execute": self._execute(dialect.do_execute, many=False),
            "do_execute_no_params": do_execute_no_params,
            "do_executemany": self._execute(dialect.do_executemany, many=True),
            "_deliver_insertmanyvalues_batches": inserts.deliver(
                dialect._deliver_insertmanyvalues_batches
            ),
        }
        """What takes the place of the dialect's methods, by their names."""

    def _execute(self, driver_call: Callable[..., Any], *, many: bool) -> Callable[..., Any]:
        watch, told, failed = self._watch, self._executed, self._failed
        surrounded = self._surround(driver_call, many=many)
        is_plain = not many and calls_the_cursor(driver_call)

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            if watch.around is not None:
                surrounded(cursor, statement, parameters, context)
                return
            start = time_ns()
            try:
                if is_plain:
                    cursor.execute(statement, parameters)
                else:
                    driver_call(cursor, statement, parameters, context)
            except BaseException as error:
                end = time_ns()
                if watch.active:
                    batch = parameters if many else None
                    failed(error, start, end, statement, context, batch, None)
                raise
            end = time_ns()
            if watch.active:
                told(start, end, cursor, statement, context, parameters if many else None, None)

        return do_execute

    def _surround(self, driver_call: Callable[..., Any], *, many: bool) -> Callable[..., Any]:
        """Return the same for when something is to be done around the driver's call."""
        watch, told, failed = self._watch, self._executed, self._failed

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
            around, call, sql = watch.around, None, statement
            try:
                if around is not None and watch.active:
                    call = around.enter(statement, parameters, context)
                    sql = call.sql
                start = time_ns()
                try:
                    driver_call(cursor, sql, parameters, context)
                except BaseException as error:
                    end = time_ns()
                    if around is not None and call is not None:
                        around.leave(call, context, cursor, error)
                    if watch.active:
                        batch = parameters if many else None
                        failed(error, start, end, statement, context, batch, call)
                    raise
                end = time_ns()
                if around is not None and call is not None:
                    around.leave(call, context, cursor, None)
                if watch.active:
                    told(start, end, cursor, statement, context, parameters if many else None, call)
            finally:  # Ctrl-C may come anywhere: the caller's context is its own again
                if call is not None and call.token is not None:
                    Around.ended(call)

        return do_execute

    def _executed(
        self,
        start: int,
        end: int,
        cursor: Any,
        sql: str,
        context: Any,
        batch: Any,
        call: Call | None,
    ) -> None:
        # Every query comes by here: it is long and in one piece, as each call of a function of ours
        # would add to each query.
        try:
            watch, caller = self._watch, current_context()
            if context is None:
                return
            proxied = context.root_connection._dbapi_connection
            state = proxied.info.get(INFO_KEY) if type(proxied) is _ConnectionFairy else None
            if state is None or state.watch is not watch:
                state = state_in(watch, context)
                if state is None:
                    return
            if state.ending:
                return
            seen_in, runs, ledger = state.seen
            if seen_in is not caller:
                seen = state.look(caller)
                if seen is None:
                    return
                _, runs, ledger = seen
            compiled = context.compiled
            known = None if compiled is None else compiled.__dict__.get(KNOWN)
            if known is None:
                known = self._statements.find(sql, context)
            statement = known.statement
            if statement.writes:
                if BATCHES in context.__dict__:
                    context.__dict__[BATCHES].add(start, end, sql, call)
                    return
                state.wrote = True
            if not state.transaction_ns:
                begin(state, start, context)
            state.statements += 1
            duration = end - start if end > start else 0  # the clock may have been set back
            repeats = False
            if runs is not None:  # as `Watch.is_repeated`, in this frame
                runs.append(statement)
                if len(runs) >= watch.repeated:
                    repeats = watch.counts(runs)
            beside = None
            if repeats or call is not None or duration >= watch.slow_ns:
                remarks = remarks_on(watch, repeats, duration, context, call, sql)
                beside = Beside(1, remarks)
            if batch is not None or ledger is not None:
                beside = beside_with(beside, batch, ledger)
            returns_rows = known.returns_rows
            if returns_rows is None:
                # libSQL says () where others say None
                returns_rows = bool(cursor.description) or context._is_server_side
            if returns_rows and context.cursor_fetch_strategy is _DEFAULT_FETCH:
                reading = state.spare
                if reading is None or getrefcount(reading) != ALONE:
                    reading = CountingFetch()
                else:
                    state.spare = None
                reading.watch, reading.state, reading.context = watch, state, caller
                reading.statement, reading.end_time_ns = statement, end
                reading.duration_ns, reading.rows, reading.reading_ns = duration, 0, 0
                if beside is not None:
                    reading.beside = beside
                if state.latest is not None:
                    state.make_room()
                state.latest = reading.reference
                if context._is_server_side or "stream_results" in context.execution_options:
                    context.cursor_fetch_strategy = counting_fetch(reading, cursor, context)
                else:
                    context.cursor_fetch_strategy = reading
                return
            counted = statement.writes and not returns_rows
            affected = cursor.rowcount if counted else -1
            if not isinstance(affected, int):
                affected = -1
            if beside is None:
                watch.defer(
                    QueryDraft(caller, watch.database, statement, end, duration, -1, affected)
                )
                return
            event = QueryExecuted(
                watch.database,
                parent_of(caller),
                end,
                duration,
                statement,
                beside.batch_size,
                -1,
                affected,
            )
            beside.remarks.tell(watch, event, caller, ledger)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _failed(
        self,
        error: BaseException,
        start: int,
        end: int,
        sql: str,
        context: Any,
        batch: Any,
        call: Call | None,
    ) -> None:
        try:
            watch, caller = self._watch, current_context()
            state = state_in(watch, context)
            if state is None or state.ending or suppressed(caller):
                return
            lost = is_lost(self._dialect, error, context.root_connection.connection, context.cursor)
            batch_size = 1 if batch is None else len(batch)
            batches: Batches | None = context.__dict__.get(BATCHES)
            if batches is not None:
                batches.told = True
                start, batch_size = batches.start or start, batches.asked
            known = self._statements.find(sql, context)
            note(state, start, known.statement.writes, context)
            state.failed = True
            parent, duration = parent_of(caller), max(0, end - start)
            repeats = watch.is_repeated(watch.runs_under(caller), known.statement)
            remarks = remarks_on(watch, repeats, duration, context, call)
            event = QueryFailed(
                watch.database,
                parent,
                end,
                duration,
                known.statement,
                describe(error, messages=watch.messages, disconnect=lost),
                batch_size,
            )
            told = remarks.on(event)
            enter(watch, told, caller)
            watch.publish(told, caller)
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.caught(own)


def calls_the_cursor(method: Any) -> bool:
    """Whether a dialect's method is SQLAlchemy's own, which calls ``cursor.execute`` and no more.

    Then that is called without it.
    """
    function = getattr(method, "__func__", None)
    return function is DefaultDialect.do_execute and function.__code__.co_names == ("execute",)


def _alone() -> int:
    """Return how many references there are to a reading that only its connection's state has.

    Python's versions count differently; taken as `QuerySource._executed` does. None has so many
    without a GIL: what two threads that share a connection count at a time is not to be relied on.
    """
    if not has_gil():
        return -1
    state: Any = SimpleNamespace(spare=CountingFetch())
    reading = state.spare
    return getrefcount(reading)


ALONE: Final = _alone()
