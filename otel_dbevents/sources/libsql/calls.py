"""What is told of a ``libsql_client``'s calls and batches.

A batch is one request, whose statements the client puts between BEGIN and COMMIT. It is told as one
query of so many statements; that its COMMIT succeeded is known, how long it took is not.
"""

from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, TypeAlias

from otel_dbevents.events import (
    ConnectionClosed,
    Database,
    DatabaseConnectionEstablished,
    DatabaseConnectionFailed,
    QueryExecuted,
    QueryFailed,
    Statement,
    TransactionCommitted,
    TransactionRolledBack,
)
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.failure import describe, describe_connect
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import FindLedger, Publish, no_ledger
from otel_dbevents.sources.libsql.codes import is_answer, is_lost, is_unreached
from otel_dbevents.sources.location import Spot, locate, spot
from otel_dbevents.sources.stack import traced
from otel_dbevents.sources.statement import Statements
from otel_dbevents.sources.summary import join_parts
from otel_dbevents.sources.watch import Notice, Watch, enter

_Method: TypeAlias = Callable[..., Any]

_OURS = 2
"""Frames between `Call` and whoever called the client's method."""
UNKNOWN = -1
"""The duration of a COMMIT or ROLLBACK that was part of something else."""
_MOST_TEXTS = 20
"""So many different statements of a batch are read, each of which takes its time."""


class ClientWatch(Watch):
    """One client under watch."""

    def __init__(
        self,
        client: Any,
        database: Database,
        publish: Publish,
        notice: Notice,
        ledger: FindLedger = no_ledger,
    ) -> None:
        super().__init__(client, database, publish, notice, ledger=ledger)
        self.statements = Statements("sqlite")
        self.opened_ns = 0
        """When the database was first known to be reached; 0 while it is not."""

    def reached(self, caller: Any, end: int) -> None:
        """Note that the database answered; the first time that is told."""
        self.succeeded()
        if self.opened_ns:
            return
        self.opened_ns = end
        about = self.database
        event = DatabaseConnectionEstablished(
            about.environment,
            about.system_name,
            0,
            end_time_ns=end,
            database=about,
            parent=parent_of(caller),
        )
        enter(self, event, caller)
        self.publish(event, caller)

    def not_reached(
        self,
        error: BaseException,
        caller: Any,
        start: int,
        end: int,
        called_from: Spot | None = None,
    ) -> None:
        """Tell that the database was not reached."""
        about = self.database
        event = DatabaseConnectionFailed(
            about.environment,
            describe_connect(error),
            next(self.failures),
            end_time_ns=end,
            duration_ns=max(0, end - start),
            failure=describe(error, messages=self.messages),
            database=about,
            parent=parent_of(caller),
        )
        self.is_failing = True
        self.opened_ns = 0
        enter(self, event, caller)
        self.publish(event, traced(caller, error, called_from) if self.stacks else caller)


class Call:
    """One call of a client's method, from the context it was made in."""

    def __init__(
        self,
        watch: ClientWatch,
        caller: Any,
        statements: Sequence[Any],
        note: Callable[..., None] | None = None,
    ) -> None:
        self.watch = watch
        self.caller = caller
        self._statements = statements
        self._note = note
        self._spot = spot(_OURS) if statements else None

    async def run(self, method: _Method, *arguments: Any) -> Any:
        """Execute one statement and tell of it."""
        start = time_ns()
        try:
            result = await method(*arguments)
        except BaseException as error:
            self._guarded(self._failed, error, start)
            raise
        self._guarded(self._executed, [result], start)
        return result

    async def run_batch(self, method: _Method, *arguments: Any) -> Any:
        """Execute a batch and tell of it, and of the transaction that it is."""
        start = time_ns()
        try:
            results = await method(*arguments)
        except BaseException as error:
            self._guarded(self._failed, error, start)
            if is_answer(error):
                self._guarded(self._batch_ended, TransactionRolledBack, start)
            raise
        self._guarded(self._executed, results, start)
        self._guarded(self._batch_ended, TransactionCommitted, start)
        return results

    async def run_close(self, method: _Method, client: Any) -> None:
        """Close the client and tell of it."""
        await method(client)
        self._guarded(self._closed)

    def not_begun(self, error: BaseException, start: int) -> None:
        """Tell that a transaction could not begin because the database was not reached."""
        if is_unreached(error):
            self._guarded(self.watch.not_reached, error, self.caller, start, time_ns(), self._spot)

    def _guarded(self, tell: Callable[..., None], *about: Any) -> None:
        try:
            if self.watch.active:
                tell(*about)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _executed(self, results: Sequence[Any], start: int) -> None:
        watch, caller, end = self.watch, self.caller, time_ns()
        statement = self._statement()
        watch.reached(caller, end)
        if self._note is not None:
            self._note(start, statement.writes)
        parent, duration = parent_of(caller), max(0, end - start)
        noticed = (
            watch.is_repeated(watch.runs_under(caller), statement) or duration >= watch.slow_ns
        )
        reading = [result for result in results if result.columns]
        writing = [result.rows_affected for result in results if not result.columns]
        event = QueryExecuted(
            watch.database,
            parent,
            end,
            duration,
            statement,
            len(results),
            sum(len(result.rows) for result in reading) if reading else -1,
            sum(writing) if writing and statement.writes and min(writing) >= 0 else -1,
            called_from=locate(self._spot) if noticed else None,
        )
        enter(watch, event, caller)
        watch.publish(event, caller)

    def _failed(self, error: BaseException, start: int) -> None:
        watch, caller, end = self.watch, self.caller, time_ns()
        if is_unreached(error):
            watch.not_reached(error, caller, start, end, self._spot)
            return
        lost = is_lost(error)
        if not lost and is_answer(error):
            watch.reached(caller, end)
        statement = self._statement()
        if self._note is not None:
            self._note(start, statement.writes, failed=True)
        parent, duration = parent_of(caller), max(0, end - start)
        noticed = (
            watch.is_repeated(watch.runs_under(caller), statement) or duration >= watch.slow_ns
        )
        event = QueryFailed(
            watch.database,
            parent,
            end,
            duration,
            statement,
            describe(error, messages=watch.messages, disconnect=lost),
            len(self._statements),
            called_from=locate(self._spot) if noticed else None,
        )
        enter(watch, event, caller)
        watch.publish(event, caller)
        if lost:
            watch.opened_ns = 0

    def _batch_ended(
        self, kind: type[TransactionCommitted | TransactionRolledBack], start: int
    ) -> None:
        watch, end = self.watch, time_ns()
        parent, count = parent_of(self.caller), len(self._statements)
        event = kind(watch.database, parent, end, UNKNOWN, max(0, end - start), count)
        enter(watch, event, self.caller)
        watch.publish(event, self.caller)

    def _closed(self) -> None:
        watch, end = self.watch, time_ns()
        opened, watch.opened_ns = watch.opened_ns, 0
        if opened:
            parent = parent_of(self.caller)
            event = ConnectionClosed(watch.database, parent, end, max(0, end - opened))
            watch.publish(event, self.caller)

    def _statement(self) -> Statement:
        """Return what the call's statements say together; of very many, what the first ones say."""
        given = list(dict.fromkeys(map(_sql, self._statements)))
        read = [self.watch.statements.find(sql, None).statement for sql in given[:_MOST_TEXTS]]
        told = list({each.query_text: each for each in read}.values())
        is_all = len(read) == len(given)
        if is_all and len(told) == 1:
            return told[0]
        texts = [each.query_text for each in told] + ([] if is_all else ["..."])
        summary = join_parts([each.query_summary for each in told if each.query_summary])
        writes = not is_all or any(each.writes for each in told)
        return Statement("; ".join(texts), summary, writes=writes)


def _sql(given: Any) -> str:
    """Return the SQL of what a client takes for a statement."""
    found = given[0] if isinstance(given, tuple) and given else getattr(given, "sql", given)
    return found if isinstance(found, str) else ""
