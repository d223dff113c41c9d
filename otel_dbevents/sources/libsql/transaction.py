"""What is told of a ``libsql_client``'s transactions: their statements, and how they ended."""

import weakref
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, TypeAlias

from opentelemetry import context as otel_context

from otel_dbevents.events import (
    CommitFailed,
    Failure,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
)
from otel_dbevents.sources.caller import parent_of, suppressed
from otel_dbevents.sources.failure import describe
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.libsql.calls import UNKNOWN, Call, ClientWatch
from otel_dbevents.sources.libsql.codes import is_lost
from otel_dbevents.sources.watch import enter

_Method: TypeAlias = Callable[..., Any]


class Transaction:
    """A transaction of a client: what ran in it, and how it ended."""

    def __init__(self, watch: ClientWatch, caller: Any) -> None:
        self._watch = weakref.ref(watch)
        self._caller = caller
        self._begun_ns = 0
        self._count = 0
        self._wrote = self._failed = self._commit_failed = False
        self._over = False
        """Whether its end was told, or is being told."""

    def call(self, statements: Sequence[Any]) -> Call | None:
        """Return what is to be told of a statement in it; None for nothing. Never raises."""
        try:
            caller, watch = otel_context.get_current(), self._watch()
            if watch is None or not watch.active or suppressed(caller):
                return None
            self._caller = caller
            return Call(watch, caller, statements, self.note)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)
            return None

    def note(self, start: int, writes: bool, *, failed: bool = False) -> None:
        """Add a statement."""
        self._begun_ns = self._begun_ns or start
        self._count += 1
        self._wrote = self._wrote or writes
        self._failed = self._failed or failed

    def is_open(self, transaction: Any) -> bool:
        """Whether its end is to be told: something ran in it, and it has not ended."""
        return bool(self._count) and not self._over and not transaction.closed

    async def commit(self, method: _Method, transaction: Any, caller: Any) -> None:
        """Commit and tell how that went."""
        start, self._over = time_ns(), True
        try:
            await method(transaction)
        except BaseException as error:
            # A file's transaction is open still: COMMIT can be tried again.
            self._over = transaction.closed
            self._commit_failed = True
            self._end(CommitFailed, caller, start, error)
            raise
        self._end(TransactionCommitted, caller, start)

    async def rollback(self, method: _Method, transaction: Any, caller: Any) -> None:
        """Roll back and tell how that went."""
        start, self._over = time_ns(), True
        try:
            await method(transaction)
        except BaseException as error:
            self._end(RollbackFailed, caller, start, error)
            raise
        self._end(self._rolled_back(), caller, start)

    def closed(self) -> None:
        """Tell that it was closed while it was open, by which the database rolls it back."""
        self._over = True
        self._end(self._rolled_back(), self._caller, None)

    def _rolled_back(self) -> type[TransactionRolledBack | TransactionReleased] | None:
        """Return what to tell; a rollback after a failed COMMIT belongs to that failure."""
        if self._commit_failed:
            return None
        return TransactionRolledBack if self._wrote or self._failed else TransactionReleased

    def _end(
        self,
        kind: type[Any] | None,
        caller: Any,
        start: int | None,
        error: BaseException | None = None,
    ) -> None:
        end = time_ns()
        try:
            watch = self._watch()
            if kind is None or watch is None or not watch.active or suppressed(caller):
                return
            duration = UNKNOWN if start is None else max(0, end - start)
            lasted = max(0, end - self._begun_ns)
            about = watch.database, parent_of(caller), end, duration, lasted, self._count
            failure: tuple[Failure, ...] = ()
            if error is not None:
                failure = (describe(error, messages=watch.messages, disconnect=is_lost(error)),)
            event = kind(*about, *failure)
            enter(watch, event, caller)
            watch.publish(event, caller)
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.caught(own)
