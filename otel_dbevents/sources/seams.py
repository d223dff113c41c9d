"""Seams: where we stand in SQLAlchemy. All of it is taken away again.

- `Engine.raw_connection`, on the class: each checkout of each engine goes through it. It is where
  an engine is first seen.
- The methods of the engine's dialect that call the driver, on the dialect's instance: the only
  place that tells the driver's own outcome, and cheaper than SQLAlchemy's events.
- The two methods by which a pool takes back and closes, on the pool's instance
  (`otel_dbevents.sources.pool.checkin`). The rest comes from SQLAlchemy's pool events.
"""

import sys
import threading
from collections.abc import Callable
from functools import wraps
from time import time_ns
from types import FrameType
from typing import Any, Final, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from otel_dbevents.compat import has_gil
from otel_dbevents.sources.connection import INFO_KEY, ConnectionState
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.pool.checkin import (
    CAN_FOLLOW,
    checked_in,
    closed,
    detached,
    followed,
    let_go,
)
from otel_dbevents.sources.pool.checkout import checked_out, refused
from otel_dbevents.sources.pool.unusable import invalidated, invalidated_for_good, pinging
from otel_dbevents.sources.query import QuerySource
from otel_dbevents.sources.transaction import TransactionSource
from otel_dbevents.sources.watch import WATCH_KEY, Watch

Seen: TypeAlias = Callable[[Engine], Watch | None]
"""Returns the watch of an engine that opens or gives a connection, if anybody wants it."""
_RawConnection: TypeAlias = Callable[[Engine], Any]
_Tell: TypeAlias = Callable[[Watch, ConnectionState, Any, BaseException | None, Any], None]

_OURS: Final = "otel-dbevents-"
"""What the names of our own threads begin with."""
_DISPATCH: Final = event.attr.__file__
"""The file whose code calls SQLAlchemy's listeners."""
_installed: tuple[_RawConnection, _RawConnection] | None = None
"""`Engine.raw_connection` as it was and as we made it, while anybody listens."""


def wrap(dialect: Any, watch: Watch) -> None:
    """Put our methods before the dialect's own, on this instance only."""
    methods = QuerySource(watch, dialect).methods | TransactionSource(watch, dialect).methods
    methods |= pinging(watch, dialect)
    watch.methods = methods
    for name, method in methods.items():
        setattr(dialect, name, method)
    dialect.__dict__[WATCH_KEY] = watch


def unwrap(dialect: Any, watch: Watch) -> None:
    """Take our methods away; one that somebody wrapped in turn stays, and only passes on."""
    if dialect.__dict__.get(WATCH_KEY) is watch:
        del dialect.__dict__[WATCH_KEY]
    for name, method in watch.methods.items():
        if dialect.__dict__.get(name) is method:
            del dialect.__dict__[name]


def listen(seen: Seen) -> None:
    """Stand in the way of each checkout. Twice is harmless."""
    global _installed
    if _installed is not None:
        return
    original = Engine.raw_connection
    ours = _raw_connection(original, seen)
    Engine.raw_connection = ours  # type: ignore[method-assign, assignment]
    _installed = (original, ours)
    for name, listener in POOL_LISTENERS.items():
        if not event.contains(Pool, name, listener):
            event.listen(Pool, name, listener)


def unlisten() -> None:
    """Stand nowhere any more, but where somebody else stands before us."""
    global _installed
    let_go()
    if not _is_dispatching():
        for name, listener in POOL_LISTENERS.items():
            if event.contains(Pool, name, listener):
                event.remove(Pool, name, listener)
    if _installed is not None and Engine.raw_connection is _installed[1]:
        Engine.raw_connection = _installed[0]  # type: ignore[method-assign, assignment]
        _installed = None


def _is_dispatching() -> bool:
    """Whether SQLAlchemy is calling listeners, in any thread.

    It walks a list that must not change meanwhile: the application's call would raise. What stays
    then does nothing, and goes when we are next asked to let go. Without a GIL another thread goes
    on while it is looked at: then it may be calling them as long as it is there.
    """
    frames = sys._current_frames()
    if not has_gil():
        ours = {each.ident for each in threading.enumerate() if each.name.startswith(_OURS)}
        if frames.keys() - ours - {threading.get_ident()}:
            return True
    for frame in frames.values():
        above: FrameType | None = frame
        while above is not None:
            if above.f_code.co_filename == _DISPATCH:
                return True
            above = above.f_back
    return False


def _raw_connection(original: _RawConnection, seen: Seen) -> _RawConnection:
    @wraps(original)
    def raw_connection(engine: Engine) -> Any:
        watch = pending = None
        try:
            watch = engine.dialect.__dict__.get(WATCH_KEY)
            if watch is None or not watch.active:
                watch = seen(engine)
            if watch is not None:
                engine_pool = engine.pool
                if CAN_FOLLOW and "_return_conn" not in engine_pool.__dict__:
                    followed(engine_pool)
                start = time_ns()
                pending = watch.pending  # a forked child has another
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)
        if watch is None or pending is None:
            return original(engine)
        try:
            try:
                pending.append(None)
                proxied = original(engine)
            finally:  # Ctrl-C may come before it is appended
                if pending:
                    pending.pop()
        except BaseException as error:
            refused(watch, engine_pool, error, start)
            raise
        checked_out(watch, engine_pool, proxied, start)
        return proxied

    return raw_connection


def _listener(tell: _Tell) -> Callable[..., None]:
    """Make a pool listener that tells of the connections that we know, and never raises."""

    def listener(connection: Any, record: Any, error: BaseException | None = None) -> None:
        try:
            state: ConnectionState | None = record.info.get(INFO_KEY) if record else None
            if state is not None and state.watch.active:
                tell(state.watch, state, connection, error, record)
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.noted(own)  # it may be a finalizer that comes here

    return listener


def _soft(watch: Watch, state: ConnectionState, connection: Any, error: Any, _record: Any) -> None:
    invalidated(watch, state, connection, error, soft=True)


POOL_LISTENERS: Final[dict[str, Callable[..., None]]] = {
    **({} if CAN_FOLLOW else {"checkin": checked_in, "close": closed}),
    "detach": _listener(detached),
    "invalidate": _listener(invalidated_for_good),
    "soft_invalidate": _listener(_soft),
}
