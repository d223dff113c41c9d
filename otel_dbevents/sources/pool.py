"""The pool: connections made, given out, taken back, refused; and its numbers, read from it.

No event of SQLAlchemy fires when a pool is exhausted, nor when `Engine.raw_connection` cannot
connect. So that method, through which every checkout of an engine goes, is where we stand.
"""

from collections.abc import Callable
from time import time_ns
from typing import Any, Final
from weakref import ref

from sqlalchemy import exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from otel_dbevents.drafts import Draft
from otel_dbevents.events import (
    CheckoutTimedOut,
    ConnectionInvalidated,
    Database,
    DatabaseConnectionFailed,
    Event,
    Holder,
    PoolReading,
)
from otel_dbevents.living import Living
from otel_dbevents.sources.caller import PLAIN, SUPPRESS, current_context, parent_of, suppressed
from otel_dbevents.sources.connection import INFO_KEY, NOBODY, ConnectionState, state_of
from otel_dbevents.sources.database import recognised
from otel_dbevents.sources.drafts import (
    CheckedInDraft,
    CheckedOutDraft,
    ClosedDraft,
    OpenedDraft,
    ReturnedDraft,
)
from otel_dbevents.sources.failure import describe, describe_connect, is_lost
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.location import locate, spot
from otel_dbevents.sources.stack import traced
from otel_dbevents.sources.watch import WATCH_KEY, Watch, enter

_OURS_AND_ENGINES = 2
"""Frames between `checked_out` and the application at the least: ours and SQLAlchemy's."""
_MOST_PINGS = 100
held: Final[Living[Pool]] = Living()
"""The pools that tell what comes back to them."""
CAN_FOLLOW: Final = hasattr(Pool, "_return_conn") and hasattr(Pool, "_close_connection")
"""Else it is a pool's events that tell what comes back and what is closed."""
_USUAL = frozenset({QueuePool, NullPool, AsyncAdaptedQueuePool})
"""Pools that are no `StaticPool`: asking that of their class is slower than to find them here."""


def checked_out(watch: Watch, pool: Pool, proxied: Any, start: int) -> None:
    """Tell that the pool gave a connection, and that it was opened for this if it was."""
    end = time_ns()
    try:
        record = proxied._connection_record
        if record is None or proxied._counter != 1:
            return
        # SQLAlchemy clears `info` when it opens the record's connection anew.
        info = record.info
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
            if type(pool) not in _USUAL and isinstance(pool, StaticPool):
                watch.proxies.add(proxied)
        if (SUPPRESS in caller or PLAIN in caller) and suppressed(caller):
            state.told_out = False
            return
        state.told_out, ledger = True, watch.ledger(caller)
        draft: Draft
        waited = end - start if end > start else 0  # the clock may have been set back
        if is_new:
            around = watch.surroundings
            watch.around = None if around is None else around.if_needed()
            if not watch.recognised:  # by now SQLAlchemy has asked the server what it is
                watch.database = recognised(watch.database, watch.engine())
                watch.recognised = True
            begun = max(state.created_ns, start)
            create_ns = end - begun if end > begun else 0
            size = 0 if type(pool) is NullPool else _size(pool)
            draft = OpenedDraft(caller, watch.database, end, waited, create_ns, size)
        else:
            draft = CheckedOutDraft(caller, watch.database, end, waited, 0)
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
        for record in _open(watch)
        if record.in_use and pool_of(record) is pool
        for state in (state_of(watch, record),)
    )
    return CheckoutTimedOut(
        watch.database, parent, end, max(0, end - start), used, reading.max, holders
    )


def followed(pool: Pool) -> None:
    """Have it told what comes back to a pool, and what it closes.

    It asks itself for both, and an event of SQLAlchemy's costs more. What comes back to a
    `NullPool` is closed at once, and told with that.
    """
    take_back, close = type(pool)._return_conn, type(pool)._close_connection
    this: Any = ref(pool)  # else the pool would keep itself
    held.add(pool)

    def return_conn(record: Any) -> None:
        checked_in(None, record)
        take_back(this(), record)  # it is there: it was called

    def close_connection(connection: Any, **how: Any) -> None:
        _closing(this(), connection)
        close(this(), connection, **how)

    if type(pool) is not NullPool:
        pool._close_connection = close_connection  # type: ignore[method-assign]
    pool._return_conn = return_conn  # type: ignore[method-assign]


def let_go() -> None:
    """Have no pool tell any more what comes back to it."""
    for pool in held.all():
        held.discard(pool)
        pool.__dict__.pop("_return_conn", None)
        pool.__dict__.pop("_close_connection", None)


def checked_in(_connection: Any, record: Any) -> None:
    """Tell that a connection came back, after what was still to be told of its results.

    Never raises.
    """
    try:
        state: ConnectionState | None = record.info.get(INFO_KEY)
        if state is None or not state.watch.active:
            return
        watch, proxied = state.watch, state.proxied
        collected = proxied is not None and proxied() is None  # `is_collected`, without its call
        of = record._ConnectionRecord__pool  # `pool_of`, without its call
        if state.latest is not None or state.others:
            unread = state.unread()  # before it is asked who is there: others may come meanwhile
            for reading in () if _is_shared(watch, of, collected) else unread:
                reading.done(in_call=not collected)
        end, caller = time_ns(), current_context()
        was_told, state.told_out = state.told_out, False
        if state.transaction_ns:
            state.end_transaction()
        state.seen, state.taken_in = NOBODY, None  # nobody's context is kept alive
        if was_told and (SUPPRESS in caller or PLAIN in caller) and suppressed(caller):
            was_told = False
        used = end - state.since_ns if end > state.since_ns else 0
        if not collected:  # else what closes it has to know
            state.proxied = None
        draft: Draft
        if type(of) is NullPool and CAN_FOLLOW and record.dbapi_connection is not None:
            begun = state.created_ns
            lived = end - begun if end > begun else 0
            if was_told:
                draft = ReturnedDraft(caller, watch.database, end, used, lived)
            else:
                draft = ClosedDraft(caller, watch.database, end, lived)
        elif was_told:
            draft = CheckedInDraft(caller, watch.database, end, used)
        else:
            return
        if collected:
            _from_finalizer(watch, draft)
        else:
            watch.defer(draft)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.noted(error)  # it may be a finalizer that comes here


def _is_shared(watch: Watch, of: Pool, collected: bool) -> bool:
    """Whether others have a `StaticPool`'s connection as well, and may be reading from it."""
    if type(of) in _USUAL or not isinstance(of, StaticPool):
        return False
    out = sum(proxy.dbapi_connection is not None for proxy in watch.proxies.all())
    return out > (0 if collected else 1)


def _from_finalizer(watch: Watch, draft: Draft) -> None:
    for event in draft.events():
        watch.from_finalizer(event, draft.context)


def detached(_watch: Watch, state: ConnectionState, *_: Any) -> None:
    """Note that a connection left the pool for good. It did not come back: no event says so."""
    state.told_out = False


def adopt(watch: Watch, record: Any) -> None:
    """Take note of a connection that was opened before we listened.

    One that is in use has a state from now on, so that it is known since when at the least.
    """
    watch.records.add(record)
    if record.in_use:
        state_of(watch, record, int(record.starttime * 1e9))


def pool_of(record: Any) -> Pool:
    """Return the pool that a record belongs to, which the engine may have replaced since."""
    found: Pool = record._ConnectionRecord__pool
    return found


def pinging(watch: Watch, dialect: Any) -> dict[str, Callable[..., Any]]:
    """Return what takes the place of the dialect's ping: it keeps why one failed.

    The pool asks it before it gives a connection out (``pool_pre_ping``), and of the driver's
    error SQLAlchemy passes on only that there was one. A ping is no query of the application's.
    """
    ping = dialect.do_ping

    def do_ping(connection: Any) -> Any:
        try:
            return ping(connection)
        except Exception as error:
            if watch.active:
                _ping_failed(watch, dialect, connection, error)
            raise

    return {"do_ping": do_ping}


def _ping_failed(watch: Watch, dialect: Any, connection: Any, error: Exception) -> None:
    try:
        if is_lost(dialect, error, connection):
            if len(watch.pings) >= _MOST_PINGS:
                watch.pings.clear()
            watch.pings[id(connection)] = describe(error, messages=watch.messages, disconnect=True)
    except Exception as own:  # noqa: BLE001 - the application must not see it
        guard.caught(own)


def invalidated(
    watch: Watch,
    state: ConnectionState,
    connection: Any,
    error: BaseException | None,
    *,
    soft: bool,
) -> None:
    """Tell that a connection was found unusable: by a query or a ping, or by the application."""
    caller = current_context()
    failure = watch.pings.pop(id(connection), None)
    if failure is None and error is not None:
        failure = describe(error, messages=watch.messages, disconnect=True)
    state.publish(
        ConnectionInvalidated(watch.database, parent_of(caller), time_ns(), soft, failure), caller
    )


def invalidated_for_good(
    watch: Watch, state: ConnectionState, connection: Any, error: BaseException | None, record: Any
) -> None:
    """Tell that a connection was found unusable. A `NullPool`'s is closed now: it tells no more."""
    invalidated(watch, state, connection, error, soft=False)
    if CAN_FOLLOW and type(pool_of(record)) is NullPool:
        closed(connection, record)


def _closing(pool: Any, connection: Any) -> None:
    """Tell of a connection that a pool closes. Never raises."""
    try:
        watch: Watch | None = pool._dialect.__dict__.get(WATCH_KEY)
        for record in () if watch is None else watch.records.all():
            if record.dbapi_connection is connection:
                closed(connection, record)
                return
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.noted(error)  # it may be a finalizer that comes here


def closed(_connection: Any, record: Any) -> None:
    """Tell that a connection of the pool is being closed. Never raises."""
    try:
        state: ConnectionState | None = record.info.get(INFO_KEY)
        if state is None or not state.watch.active:
            return
        watch, begun = state.watch, state.created_ns
        end, proxied = time_ns(), state.proxied
        lived = end - begun if end > begun else 0
        draft = ClosedDraft(current_context(), watch.database, end, lived)
        if proxied is not None and proxied() is None:
            _from_finalizer(watch, draft)
        else:
            watch.defer(draft)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.noted(error)  # it may be a finalizer that comes here


def read_engine(watch: Watch) -> PoolReading | None:
    """Return the pool's numbers now; None when the engine is gone."""
    engine: Engine | None = watch.engine()
    return None if engine is None else read_pool(watch, engine.pool)


def read_pool(watch: Watch, pool: Pool) -> PoolReading:
    """Return the numbers of now: what is open is read from SQLAlchemy's own records.

    The pool's own counters would do for no pool but one: they count places, also those without
    a connection, and forget at ``dispose()`` what is still out.
    """
    there = _open(watch)
    used = sum(record.in_use for record in there)
    if isinstance(pool, StaticPool) and there and not used:
        used = int(any(proxy.dbapi_connection is not None for proxy in watch.proxies.all()))
    most, idle_most = _limits(pool)
    return PoolReading(
        watch.database, len(there) - used, used, len(watch.pending), most, idle_most, 0
    )


def read_unwatched(engine: Engine, database: Database) -> PoolReading | None:
    """Return the numbers of an engine that is not under watch, as its pool counts them.

    None where the pool does not count.
    """
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return None
    most, idle_most = _limits(pool)
    return PoolReading(database, pool.checkedin(), pool.checkedout(), 0, most, idle_most, 0)


def _open(watch: Watch) -> list[Any]:
    return [each for each in watch.records.all() if each.dbapi_connection is not None]


def _limits(pool: Pool) -> tuple[int, int]:
    """Return how many connections may be open, and how many idle; -1: as many as you like."""
    if isinstance(pool, QueuePool):
        size, extra = pool.size(), pool._max_overflow
        return -1 if extra < 0 or not size else size + extra, size or -1
    if isinstance(pool, SingletonThreadPool):
        return pool.size, pool.size
    if isinstance(pool, StaticPool | AssertionPool):
        return 1, 1
    return -1, 0 if isinstance(pool, NullPool) else -1


def _size(pool: Pool) -> int:
    """Return how many connections the pool keeps at most; 0 when it keeps none."""
    size = getattr(pool, "size", 0)
    if callable(size):
        size = size()
    if isinstance(pool, StaticPool | AssertionPool):
        return 1
    return max(0, size) if isinstance(size, int) else 0
