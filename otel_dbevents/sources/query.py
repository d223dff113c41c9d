"""Statements: the dialect's own calls of the driver, each told of once.

Start and end are taken in one frame around the driver's call, and its exception is seen as the
driver raised it. No listener of SQLAlchemy is used: one of them on an engine makes every statement
walk all engine events, and ``after_cursor_execute`` and ``handle_error`` can both be missed.
"""

from collections.abc import Callable
from sys import getrefcount
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy.engine.cursor import _DEFAULT_FETCH
from sqlalchemy.pool.base import _ConnectionFairy

from otel_dbevents.compat import has_gil
from otel_dbevents.events import QueryFailed
from otel_dbevents.sources.around import Call
from otel_dbevents.sources.beside import beside_of, remarks_on
from otel_dbevents.sources.caller import current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_KEY, begin, note, state_in
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.executing import executing
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
        told, failed = self._executed, self._failed
        execute = executing(
            watch, lambda c, sql, _parameters, ctx: no_params(c, sql, ctx), told, failed
        )

        def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
            execute(cursor, statement, None, context)

        self.methods: dict[str, Callable[..., Any]] = {
            "do_execute": executing(watch, dialect.do_execute, told, failed),
            "do_execute_no_params": do_execute_no_params,
            "do_executemany": executing(watch, dialect.do_executemany, told, failed, many=True),
            "_deliver_insertmanyvalues_batches": inserts.deliver(
                dialect._deliver_insertmanyvalues_batches
            ),
        }
        """What takes the place of the dialect's methods, by their names."""

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
        # Every query comes by here: long and in one piece, as a call of a function of ours would
        # add 580 instructions (counted) to the 18,500 that each costs its caller.
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
            if (
                repeats
                or call is not None
                or duration >= watch.slow_ns
                or batch is not None
                or ledger is not None
            ):
                beside = beside_of(watch, context, sql, call, repeats, duration, batch, ledger)
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
            else:
                beside.tell(watch, caller, statement, end, duration, affected)
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
