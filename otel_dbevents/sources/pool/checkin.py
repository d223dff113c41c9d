"""What comes back to a pool, and what it closes."""

from time import time_ns
from typing import Any, Final
from weakref import ref

from sqlalchemy.pool import NullPool, Pool, StaticPool, base

from otel_dbevents.drafts import Draft
from otel_dbevents.living import Living
from otel_dbevents.sources.caller import current_context, suppressed
from otel_dbevents.sources.connection import INFO_KEY, NOBODY, ConnectionState
from otel_dbevents.sources.drafts import CheckedInDraft, ClosedDraft, ReturnedDraft
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.pool.places import UNSHARED
from otel_dbevents.sources.watch import WATCH_KEY, Watch

held: Final[Living[Pool]] = Living()
"""The pools that tell what comes back to them."""
RECORD: Final[Any] = getattr(base, "_ConnectionRecord", None)
"""SQLAlchemy's class of a place in a pool."""
PROXY: Final[Any] = getattr(base, "_ConnectionFairy", None)
"""SQLAlchemy's class of what a pool gives out."""
CAN_FOLLOW: Final = (
    {"_return_conn", "_close_connection"} <= Pool.__dict__.keys()
    and "invalidate" in vars(RECORD or object)
    and "detach" in vars(PROXY or object)
)
"""Else it is a pool's events that tell what comes back, is closed, is unusable or is detached."""


def followed(pool: Pool) -> None:
    """Have it told what comes back to a pool, and what it closes.

    It asks itself for both, and an event of SQLAlchemy's costs more. What comes back to a
    `NullPool` is closed at once, and told with that.
    """
    take_back, close = type(pool)._return_conn, type(pool)._close_connection
    this: Any = ref(pool)  # else the pool would keep itself
    held.add(pool)

    def return_conn(record: Any) -> None:
        try:
            checked_in(None, record)
        finally:  # Ctrl-C may come in between: the pool must have it back
            take_back(this(), record)  # it is there: it was called

    def close_connection(connection: Any, **how: Any) -> None:
        try:
            _closing(this(), connection)
        finally:
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
        if was_told and caller is not state.taken_in:  # else it is known not to be silent
            was_told = not suppressed(caller)
        if state.transaction_ns:
            state.end_transaction()
        state.seen, state.taken_in = NOBODY, None  # nobody's context is kept alive
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
    if type(of) in UNSHARED or not isinstance(of, StaticPool):
        return False
    out = sum(proxy.dbapi_connection is not None for proxy in watch.proxies.all())
    return out > (0 if collected else 1)


def _from_finalizer(watch: Watch, draft: Draft) -> None:
    for event in draft.events():
        watch.from_finalizer(event, draft.context)


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


def leaving(record: Any) -> None:
    """Note that a connection leaves the pool for good. It does not come back: no event says so.

    Never raises.
    """
    try:
        state: ConnectionState | None = record.info.get(INFO_KEY) if record else None
        if state is not None and state.watch.active:
            state.told_out = False
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.noted(error)
