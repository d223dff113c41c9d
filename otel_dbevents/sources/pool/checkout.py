"""What a pool gives: a connection, opened for that or not; and what it refuses."""

import sys
from time import time_ns
from typing import Any
from weakref import ref

from sqlalchemy import exc
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    QueuePool,
    StaticPool,
)

from otel_dbevents.drafts import Draft
from otel_dbevents.events import CheckoutTimedOut, DatabaseConnectionFailed, Event, Holder
from otel_dbevents.sources.caller import PLAIN, SUPPRESS, current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_IS_KEPT, INFO_KEY, ConnectionState, state_of
from otel_dbevents.sources.database import recognised
from otel_dbevents.sources.drafts import CheckedOutDraft, OpenedDraft
from otel_dbevents.sources.failure import describe, describe_connect
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.location import locate, spot
from otel_dbevents.sources.pool.places import UNSHARED, open_records, pool_of, read_pool, size_of
from otel_dbevents.sources.stack import traced
from otel_dbevents.sources.watch import Watch, enter

_OURS_AND_ENGINES = 2
"""Frames between `checked_out` and the application at the least: ours and SQLAlchemy's."""


def checked_out(watch: Watch, pool: Pool, proxied: Any, start: int) -> None:
    """Tell that the pool gave a connection, and that it was opened for this if it was."""
    end = time_ns()
    try:
        record = proxied._connection_record
        if record is None or proxied._counter != 1:
            return
        # SQLAlchemy clears `info` when it opens the record's connection anew. What is not there is
        # made here as it would be there, without two calls.
        kept = record.__dict__
        info = kept.get("info")
        if info is None:
            info = kept["info"] = {} if INFO_IS_KEPT else record.info
        state: ConnectionState | None = info.get(INFO_KEY)
        is_new = False
        if state is None:
            created = int(record.starttime * 1e9)
            is_new = created >= start - 1_000
            known = watch.records
            known.references[ref(record, known.forget)] = None
            state = info[INFO_KEY] = ConnectionState(watch, created)
        elif state.watch is not watch:
            state = state_of(watch, record, int(record.starttime * 1e9))
        caller = current_context()
        state.taken_in, state.since_ns, state.wrote = caller, end, False
        state.proxied = record.fairy_ref
        if type(pool) is not NullPool:  # else nobody ever waits, and wants to know who holds it
            state.spot = spot(_OURS_AND_ENGINES)
            if type(pool) not in UNSHARED and isinstance(pool, StaticPool):
                watch.proxies.add(proxied)
        if caller.get(SUPPRESS) or caller.get(PLAIN):  # as `suppressed`, in this frame
            state.told_out = False
            return
        state.told_out, ledger = True, watch.ledger(caller)
        draft: Draft
        waited = end - start if end > start else 0  # the clock may have been set back
        if is_new:
            if watch.around is not None or watch.instrumentor in sys.modules:
                watch.look_around()  # mostly its instrumentor was not even imported
            if not watch.recognised:  # by now SQLAlchemy has asked the server what it is
                watch.database = recognised(watch.database, watch.engine())
                watch.recognised = True
            begun = max(state.created_ns, start)
            create_ns = end - begun if end > begun else 0
            size = 0 if type(pool) is NullPool else size_of(pool)
            draft = OpenedDraft(caller, watch.database, end, waited, create_ns, size)
        else:
            took = watch.pinged and watch.pinged.pop(id(record.dbapi_connection), 0)
            pinged = min(took, waited) if took else 0
            draft = CheckedOutDraft(caller, watch.database, end, waited, pinged)
        if watch.is_failing:
            watch.succeeded()
        if ledger is None:
            watch.defer(draft)
        else:
            watch.enter(draft, ledger)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)


def refused(watch: Watch, pool: Pool, error: BaseException, start: int) -> None:
    """Tell that no connection was had: the pool was exhausted, or the database not reached."""
    end = time_ns()
    try:
        caller = current_context()
        if suppressed(caller) or not isinstance(error, Exception) or _is_pools_own(pool, error):
            return
        parent = parent_of(caller)
        event: Event
        if isinstance(error, exc.TimeoutError):
            event = _timed_out(watch, pool, parent, start, end)
        else:
            event = DatabaseConnectionFailed(
                watch.database.environment,
                describe_connect(error),
                next(watch.failures),
                end_time_ns=end,
                duration_ns=max(0, end - start),
                failure=describe(error, messages=watch.messages),
                database=watch.database,
                parent=parent,
            )
            watch.is_failing = True
        enter(watch, event, caller)
        watch.publish(event, traced(caller, error) if watch.stacks else caller)
    except Exception as own:  # noqa: BLE001 - the application must not see it
        guard.caught(own)


def _is_pools_own(pool: Pool, error: Exception) -> bool:
    """Whether a pool for debugging refused a second connection: the database was not asked."""
    return isinstance(pool, AssertionPool) and isinstance(error, AssertionError)


def _timed_out(watch: Watch, pool: Pool, parent: Any, start: int, end: int) -> CheckoutTimedOut:
    reading = read_pool(watch, pool)
    # Every place in the pool counts, also one whose connection is only just being opened.
    used = pool.checkedout() if isinstance(pool, QueuePool) else reading.used
    holders = tuple(
        Holder(state.holder, max(0, end - state.since_ns), locate(state.spot))
        for record in open_records(watch)
        if record.in_use and pool_of(record) is pool
        for state in (state_of(watch, record),)
    )
    return CheckoutTimedOut(
        watch.database, parent, end, max(0, end - start), used, reading.max, holders
    )
