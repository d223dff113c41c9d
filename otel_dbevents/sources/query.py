"""Statements: the dialect's own calls of the driver, each told of once.

Start and end are taken in one frame around the driver's call, and its exception is seen as the
driver raised it. No listener of SQLAlchemy is used: one of them on an engine makes every statement
walk all engine events, and ``after_cursor_execute`` and ``handle_error`` can both be missed.

An INSERT that SQLAlchemy sends in several calls ("insertmanyvalues") is one operation.
"""

from collections.abc import Callable, Iterator
from sys import getrefcount
from time import time_ns
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy.engine.cursor import _DEFAULT_FETCH
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool.base import _ConnectionFairy

from otel_dbevents.events import QueryExecuted, QueryFailed
from otel_dbevents.sources.advice import advise
from otel_dbevents.sources.around import Call
from otel_dbevents.sources.caller import current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_KEY, ConnectionState, is_connecting, state_of
from otel_dbevents.sources.drafts import QueryDraft
from otel_dbevents.sources.explain.question import question_of
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import Ledger
from otel_dbevents.sources.location import here
from otel_dbevents.sources.reading import NOTHING, Beside, Remarks
from otel_dbevents.sources.rows import CountingFetch, counting_fetch
from otel_dbevents.sources.statement import KNOWN, Statements
from otel_dbevents.sources.watch import Watch, enter

_BATCHES = "_otel_dbevents_batches"
"""Where an execution context keeps the batches that it is sent in."""


class QuerySource:
    """Makes `QueryExecuted` and `QueryFailed` of what one dialect executes."""

    def __init__(self, watch: Watch, dialect: Any) -> None:
        self._watch = watch
        self._dialect = dialect
        self._statements = Statements(dialect.name)
        no_params = dialect.do_execute_no_params
        execute = self._execute(lambda c, sql, _parameters, ctx: no_params(c, sql, ctx), many=False)

        def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
            execute(cursor, statement, None, context)

        self.methods: dict[str, Callable[..., Any]] = {
            "do_execute": self._execute(dialect.do_execute, many=False),
            "do_execute_no_params": do_execute_no_params,
            "do_executemany": self._execute(dialect.do_executemany, many=True),
            "_deliver_insertmanyvalues_batches": self._deliver(
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
                state = _connection_state(watch, context)
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
                if _BATCHES in context.__dict__:
                    context.__dict__[_BATCHES].add(start, end, sql, call)
                    return
                state.wrote = True
            if not state.transaction_ns:
                _begin(state, start, context)
            state.statements += 1
            duration = end - start if end > start else 0  # the clock may have been set back
            repeats = False
            if runs is not None:  # as `Watch.is_repeated`, in this frame
                runs.append(statement)
                if len(runs) >= watch.repeated:
                    repeats = watch.counts(runs)
            beside = None
            if repeats or call is not None or duration >= watch.slow_ns:
                remarks = _remarks(watch, repeats, duration, context, call, sql)
                beside = Beside(1, remarks)
            if batch is not None or ledger is not None:
                beside = _beside(beside, batch, ledger)
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
            state = _connection_state(watch, context)
            if state is None or state.ending or suppressed(caller):
                return
            lost = is_lost(self._dialect, error, context.root_connection.connection, context.cursor)
            batch_size = 1 if batch is None else len(batch)
            batches: _Batches | None = context.__dict__.get(_BATCHES)
            if batches is not None:
                batches.told = True
                start, batch_size = batches.start or start, batches.asked
            known = self._statements.find(sql, context)
            _note(state, start, known.statement.writes, context)
            state.failed = True
            parent, duration = parent_of(caller), max(0, end - start)
            repeats = watch.is_repeated(watch.runs_under(caller), known.statement)
            remarks = _remarks(watch, repeats, duration, context, call)
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

    def _deliver(self, deliver: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Tell of an INSERT that is sent in batches once, when the last of them was sent."""

        def batches(*arguments: Any) -> Iterator[Any]:
            context, sent = arguments[-1], _Batches()
            sent.begin(context)
            try:
                for batch in deliver(*arguments):
                    sent.follow(batch)
                    yield batch
            except GeneratorExit:  # left by SQLAlchemy, and closed when it is collected
                sent.in_call = False
                raise
            except Exception as error:
                # The rows that a batch returned could not be fetched or matched.
                if sent.sql and not sent.told and self._watch.active:
                    self._failed(error, sent.start, time_ns(), sent.sql, context, None, sent.call)
                raise
            finally:
                sent.end_in(context)
                if sent.sql and not sent.told and self._watch.active:
                    self._sent(sent, context)

        return batches

    def _sent(self, sent: "_Batches", context: Any) -> None:
        try:
            watch, caller = self._watch, current_context()
            state = _connection_state(watch, context)
            if state is None or suppressed(caller):
                return
            known = self._statements.find(sent.sql, context)
            _note(state, sent.start, True, context)
            parent, duration = parent_of(caller), max(0, sent.end - sent.start)
            repeats = watch.is_repeated(watch.runs_under(caller), known.statement)
            remarks = _remarks(watch, repeats, duration, context, sent.call)
            returned = context._insertmanyvalues_rows
            event = QueryExecuted(
                watch.database,
                parent,
                sent.end,
                duration,
                known.statement,
                sent.rows,
                -1 if returned is None else len(returned),
            )
            told = remarks.on(event)
            enter(watch, told, caller)
            (watch.publish if sent.in_call else watch.from_finalizer)(told, caller)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            (guard.caught if sent.in_call else guard.noted)(error)


def calls_the_cursor(method: Any) -> bool:
    """Whether a dialect's method is SQLAlchemy's own, which calls ``cursor.execute`` and no more.

    Then that is called without it.
    """
    function = getattr(method, "__func__", None)
    return function is DefaultDialect.do_execute and function.__code__.co_names == ("execute",)


class _Batches:
    """The calls of the driver that one INSERT is sent in."""

    __slots__ = ("asked", "call", "end", "in_call", "next_rows", "rows", "sql", "start", "told")

    def __init__(self) -> None:
        self.asked = 0
        """How many rows the application gave."""
        self.rows = self.next_rows = 0
        """How many were sent, and how many go with the next call."""
        self.start = self.end = 0
        self.sql = ""
        self.call: Call | None = None
        self.told = False
        self.in_call = True
        """Whether the application is in a call that has to do with it; else a finalizer runs."""

    def begin(self, context: Any) -> None:
        """Have the calls that this execution context makes come here. Never raises."""
        try:
            self.asked = len(context.compiled_parameters)
            context.__dict__[_BATCHES] = self
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def follow(self, batch: Any) -> None:
        """Take note of the batch that is sent next. Never raises."""
        try:
            self.next_rows = len(batch.batch)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    @staticmethod
    def end_in(context: Any) -> None:
        """Have no more calls come here. Never raises."""
        try:
            context.__dict__.pop(_BATCHES, None)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def add(self, start: int, end: int, sql: str, call: Call | None) -> None:
        """Take note of a call that went well."""
        self.start = self.start or start
        self.end = end
        self.rows += self.next_rows
        self.sql = self.sql or sql
        self.call = self.call or call


def _connection_state(watch: Watch, context: Any) -> ConnectionState | None:
    """Return the connection's state, or None for what SQLAlchemy runs while it connects."""
    if context is None:
        return None
    proxied = context.root_connection.connection
    return None if is_connecting(proxied) else state_of(watch, proxied)


def _note(state: ConnectionState, start: int, writes: bool, context: Any) -> None:
    """Add a statement to the connection's transaction, which it may begin."""
    if not state.transaction_ns:
        _begin(state, start, context)
    state.statements += 1
    if writes:
        state.wrote = True


def _beside(beside: Beside | None, batch: Any, ledger: Ledger | None) -> Beside:
    """Add to what is to be said of a query that it is one of many rows, or one of LLM work."""
    beside = beside or Beside()
    if batch is not None:
        beside.batch_size = len(batch)
    if ledger is not None:
        beside.ledger, beside.cause = ledger, ledger.cause()
    return beside


def _alone() -> int:
    """Return how many references there are to a reading that only its connection's state has.

    Python's versions count differently; taken as `QuerySource._executed` does.
    """
    state: Any = SimpleNamespace(spare=CountingFetch())
    reading = state.spare
    return getrefcount(reading)


ALONE: Final = _alone()


def _begin(state: ConnectionState, start: int, context: Any) -> None:
    state.transaction_ns = start
    state.autocommit = context.root_connection._is_autocommit_isolation()


def _remarks(
    watch: Watch, repeats: bool, duration_ns: int, context: Any, call: Call | None, sql: str = ""
) -> Remarks:
    """Return what is to be said beside: where a slow or often repeated query came from.

    With the driver's ``sql`` it is also kept what a slow query's plan is asked for with.
    """
    try:
        slow = duration_ns >= watch.slow_ns
        place = here() if repeats or slow else None
        advice = advise(context) if repeats else ""
        given, event_id = (None, b"") if call is None else (call.attributes, call.id)
        question = question_of(context, sql) if slow and sql and watch.explainer else None
        return Remarks((place, advice, given), event_id, question)
    except Exception as error:  # noqa: BLE001 - the query is told without
        guard.caught(error)
        return NOTHING
