"""Transactions: the outcome that the driver gave, at the dialect's COMMIT and ROLLBACK.

SQLAlchemy's ``commit`` event fires before the driver commits, also in autocommit where nothing is
committed; so the dialect's methods are wrapped, which return, or raise, as the driver did.
A transaction counts from its first statement, as SQLAlchemy's own begin does not reach the server.
What a cursor of the driver's own ran (COPY, `raw_connection()`) is not seen; a COMMIT of it is told
where the driver says that a transaction is open, or raises.
What was not open was neither committed nor rolled back, and PostgreSQL may answer COMMIT by a
rollback: `Standing` knows.
"""

from collections.abc import Callable
from time import time_ns
from typing import Any, TypeAlias

from sqlalchemy.pool.base import _ConnectionFairy

from otel_dbevents.events import (
    CommitFailed,
    RollbackFailed,
    TransactionCommitted,
    TransactionReleased,
    TransactionRolledBack,
    new_id,
)
from otel_dbevents.sources.around import Around, Call
from otel_dbevents.sources.caller import current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_KEY, ConnectionState, is_connecting
from otel_dbevents.sources.failure import describe, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.stack import traced
from otel_dbevents.sources.standing import Standing
from otel_dbevents.sources.watch import Watch, enter

_Ended: TypeAlias = type[TransactionCommitted | TransactionRolledBack | TransactionReleased]
_Failed: TypeAlias = type[CommitFailed | RollbackFailed]
_Outcome: TypeAlias = Callable[[ConnectionState, Standing], _Ended | None]


def _committed(_state: ConnectionState, standing: Standing) -> _Ended | None:
    """Return what to tell after COMMIT; nothing, where nothing was open."""
    if standing.is_broken:
        return TransactionRolledBack
    return None if standing.is_closed else TransactionCommitted


def _rolled_back(state: ConnectionState, standing: Standing) -> _Ended | None:
    """Return what to tell after ROLLBACK; one after a failed COMMIT belongs to that failure."""
    if state.commit_failed or standing.is_closed:
        return None
    return TransactionRolledBack if state.wrote or state.failed else TransactionReleased


class TransactionSource:
    """Makes the transaction events of one dialect."""

    def __init__(self, watch: Watch, dialect: Any) -> None:
        self._watch = watch
        self._dialect = dialect
        commit, rollback = dialect.do_commit, dialect.do_rollback
        commit_two, rollback_two = dialect.do_commit_twophase, dialect.do_rollback_twophase
        self.methods: dict[str, Callable[..., Any]] = {
            "do_commit": self._quick(
                commit, self._ending(commit, _committed, CommitFailed), self._begin_unseen
            ),
            "do_rollback": self._quick(
                rollback, self._ending(rollback, _rolled_back, RollbackFailed)
            ),
            "do_commit_twophase": self._ending(commit_two, _committed, CommitFailed),
            "do_rollback_twophase": self._ending(rollback_two, _rolled_back, RollbackFailed),
        }
        """What takes the place of the dialect's methods, by their names."""

    def _ending(
        self, driver_call: Callable[..., Any], ended: _Outcome, failed: _Failed
    ) -> Callable[..., Any]:
        watch, is_commit = self._watch, failed is CommitFailed

        def end(connection: Any, *arguments: Any, **options: Any) -> None:
            state = _open_transaction(connection) if watch.active else None
            if state is None or state.ending:
                driver_call(connection, *arguments, **options)
                return
            call, standing, start = None, Standing(connection, state), time_ns()
            try:
                call = watch.around and watch.around.ending()
                if is_commit and state.failed:
                    standing.listen()
                start, state.ending = time_ns(), True
                driver_call(connection, *arguments, **options)
            except BaseException as error:
                if call is not None:
                    Around.ended(call)
                self._told_failed(failed, state, start, error, call, connection)
                raise
            finally:
                state.ending = False
                if call is not None:
                    Around.ended(call)
                if standing.protocol is not None:
                    standing.heard()
            self._told(ended(state, standing), state, start, call)

        return end

    def _begin_unseen(self, connection: Any) -> None:
        """Take a transaction without statements for open, if the driver says that one is."""
        try:
            state: ConnectionState = connection._connection_record.info[INFO_KEY]
            if self._watch.active and not state.ending:
                # As in autocommit, the driver's word is all there is.
                state.transaction_ns, state.autocommit = time_ns(), True
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    @staticmethod
    def _quick(
        driver_call: Callable[..., Any],
        end: Callable[..., Any],
        begin: Callable[[Any], None] | None = None,
    ) -> Callable[..., Any]:
        """Pass on a ROLLBACK at once where nothing is open, as at most check-ins.

        A COMMIT has ``begin`` look there first.
        """

        def quick(connection: Any) -> None:
            try:
                nothing_open = (
                    type(connection) is _ConnectionFairy
                    and connection._connection_record is not None
                    and not connection._connection_record.info[INFO_KEY].transaction_ns
                )
            except KeyError:  # opened before we listened
                nothing_open = False
            except Exception as error:  # noqa: BLE001 - the application must not see it
                guard.caught(error)
                nothing_open = False
            if nothing_open and begin is None:
                driver_call(connection)
                return
            if nothing_open and begin is not None:
                begin(connection)
            end(connection)

        return quick

    def _told(
        self, kind: _Ended | None, state: ConnectionState, start: int, call: Call | None
    ) -> None:
        end = time_ns()
        try:
            begun, count = state.transaction_ns, state.statements
            state.end_transaction()
            if kind is None:
                return
            caller, seen = current_context(), state.seen
            look = seen if seen[0] is caller else state.look(caller)
            if look is None:
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
            if look[2] is not None:
                look[2].enter(event)
            state.publish(event, caller)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            state.caught(error)

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
            caller = current_context()
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
            enter(self._watch, event, caller)
            state.publish(event, traced(caller, error) if self._watch.stacks else caller)
        except Exception as own:  # noqa: BLE001 - the application must not see it
            state.caught(own)


def _open_transaction(connection: Any) -> ConnectionState | None:
    """Return the state of a connection with a transaction open on it.

    ``connection`` is the pool's proxy, or SQLAlchemy's `Connection` for two-phase transactions.
    """
    try:
        info = None
        if type(connection) is _ConnectionFairy:
            # The proxy's own `info` is made when it is asked for; a detached one has it already.
            record = connection._connection_record
            info = None if record is None else record.info
        elif is_connecting(connection):
            return None
        found = connection.info if info is None else info
        state: ConnectionState | None = found.get(INFO_KEY)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)
        return None
    return state if state is not None and state.transaction_ns else None
