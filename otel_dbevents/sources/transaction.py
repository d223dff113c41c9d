"""Transactions: the outcome that the driver gave, at the dialect's COMMIT and ROLLBACK.

SQLAlchemy's ``commit`` event fires before the driver commits, also in autocommit where nothing is
committed; so the dialect's methods are wrapped, which return, or raise, as the driver did.
A transaction counts from its first statement, as SQLAlchemy's own begin does not reach the server.
A driver that knows whether a transaction is open (``in_transaction``) is asked: SQLite's begin one
at the first write only, and what was not open was neither committed nor rolled back.
"""

from collections.abc import Callable
from time import time_ns
from typing import Any, TypeAlias

from opentelemetry import context as otel_context

from otel_dbevents.events import (
    CommitFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
    new_id,
)
from otel_dbevents.sources.around import Around, Call
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.watch import (
    INFO_KEY,
    ConnectionState,
    Watch,
    guard,
    is_connecting,
    parent_of,
    suppressed,
)

_Ended: TypeAlias = type[TransactionCommitted | TransactionRolledBack | TransactionReleased]
_Failed: TypeAlias = type[CommitFailed | RollbackFailed]


class TransactionSource:
    """Makes the transaction events of one dialect."""

    def __init__(self, watch: Watch, dialect: Any) -> None:
        self._watch = watch
        self._dialect = dialect
        commit, rollback = self._commit, self._rollback
        self.methods: dict[str, Callable[..., Any]] = {
            "do_commit": self._ending(dialect.do_commit, commit, CommitFailed),
            "do_rollback": self._ending(dialect.do_rollback, rollback, RollbackFailed),
            "do_commit_twophase": self._ending(dialect.do_commit_twophase, commit, CommitFailed),
            "do_rollback_twophase": self._ending(
                dialect.do_rollback_twophase, rollback, RollbackFailed
            ),
        }
        """What takes the place of the dialect's methods, by their names."""

    def _ending(
        self,
        driver_call: Callable[..., Any],
        ended: Callable[[ConnectionState], _Ended | None],
        failed: _Failed,
    ) -> Callable[..., Any]:
        watch = self._watch

        def end(connection: Any, *arguments: Any, **options: Any) -> None:
            state = _open_transaction(connection) if watch.active else None
            if state is None or state.ending:
                driver_call(connection, *arguments, **options)
                return
            call = watch.around and watch.around.ending()
            open_ = _is_open(connection, state)
            start, state.ending = time_ns(), True
            try:
                driver_call(connection, *arguments, **options)
            except BaseException as error:
                Around.ended(call)
                self._told_failed(failed, state, start, error, call, connection)
                raise
            finally:
                state.ending = False
            Around.ended(call)
            self._told(ended(state) if open_ else None, state, start, call)

        return end

    @staticmethod
    def _commit(_state: ConnectionState) -> _Ended | None:
        return TransactionCommitted

    @staticmethod
    def _rollback(state: ConnectionState) -> _Ended | None:
        """Return what to tell; a rollback after a failed COMMIT belongs to that failure."""
        if state.commit_failed:
            return None
        return TransactionRolledBack if state.wrote or state.failed else TransactionReleased

    def _told(
        self, kind: _Ended | None, state: ConnectionState, start: int, call: Call | None
    ) -> None:
        end = time_ns()
        try:
            begun, count = state.transaction_ns, state.statements
            state.end_transaction()
            caller = otel_context.get_current()
            if kind is None or suppressed(caller):
                return
            event = kind(
                self._watch.database,
                parent_of(caller),
                end,
                max(0, end - start),
                max(0, end - begun),
                count,
                id=call.id if call else new_id(),
            )
            self._watch.publish(event, caller)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _told_failed(
        self,
        kind: _Failed,
        state: ConnectionState,
        start: int,
        error: BaseException,
        call: Call | None,
        connection: Any,
    ) -> None:
        end = time_ns()
        try:
            lost = is_lost(self._dialect, error, connection)
            # It may be open still, as after SQLite's "busy": COMMIT can be tried again.
            state.failed = True
            state.commit_failed = kind is CommitFailed
            caller = otel_context.get_current()
            if suppressed(caller):
                return
            event = kind(
                self._watch.database,
                parent_of(caller),
                end,
                max(0, end - start),
                max(0, end - state.transaction_ns),
                state.statements,
                describe(error, messages=self._watch.messages, disconnect=lost),
                id=call.id if call else new_id(),
            )
            self._watch.publish(event, caller)
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.caught(own)


def _open_transaction(connection: Any) -> ConnectionState | None:
    """Return the state of a connection with a transaction open on it.

    ``connection`` is the pool's proxy, or SQLAlchemy's `Connection` for two-phase transactions.
    """
    try:
        if is_connecting(connection):
            return None
        state: ConnectionState | None = connection.info.get(INFO_KEY)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)
        return None
    return state if state is not None and state.transaction_ns else None


def _is_open(connection: Any, state: ConnectionState) -> bool:
    """Ask the driver whether a transaction is open; where it cannot tell, go by SQLAlchemy's mode.

    SQLAlchemy's word is not enough: Turso's dialect ignores AUTOCOMMIT, and libSQL has its own.
    """
    try:
        driver = getattr(connection, "driver_connection", None)
        if driver is None:  # a connection that was detached from its pool
            driver = getattr(connection, "dbapi_connection", None)
        told = getattr(driver, "in_transaction", None)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)
        told = None
    return told if isinstance(told, bool) else not state.autocommit
