"""Seams: where we stand in SQLAlchemy. All of it is taken away again.

- `Engine.raw_connection`, on the class: each checkout of each engine goes through it. It is where
  an engine is first seen.
- The methods of the engine's dialect that call the driver, on the dialect's instance: the only
  place that tells the driver's own outcome, and cheaper than SQLAlchemy's events.
- The two methods by which a pool takes back and closes, on the pool's instance
  (`otel_dbevents.sources.pool.checkin`).
- What invalidates a connection and what detaches it, on the class of each.

No listener of SQLAlchemy's: to add or remove one changes a list that other threads may be walking,
and the application's call that walks it would raise. An attribute is exchanged in one go.
"""

from collections.abc import Callable
from functools import wraps
from time import time_ns
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.pool.checkin import (
    CAN_FOLLOW,
    PROXY,
    RECORD,
    checked_in,
    closed,
    followed,
    leaving,
    let_go,
)
from otel_dbevents.sources.pool.checkout import checked_out, refused
from otel_dbevents.sources.pool.unusable import pinging, unusable
from otel_dbevents.sources.query import QuerySource
from otel_dbevents.sources.transaction import TransactionSource
from otel_dbevents.sources.watch import WATCH_KEY, Watch

Seen: TypeAlias = Callable[[Engine], Watch | None]
"""Returns the watch of an engine that opens or gives a connection, if anybody wants it."""
_RawConnection: TypeAlias = Callable[[Engine], Any]


class _Replaced(NamedTuple):
    """A method of a class that ours took the place of."""

    owner: type
    name: str
    original: Any
    ours: Any


_replaced: list[_Replaced] = []
"""What ours took the place of while anybody listens, or until who wrapped ours lets go."""


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
    _stand(Engine, "raw_connection", lambda original: _raw_connection(original, seen))
    if CAN_FOLLOW:
        _stand(RECORD, "invalidate", _invalidate)
        _stand(PROXY, "detach", _detach)
        return
    for name, listener in _LISTENERS.items():
        if not event.contains(Pool, name, listener):
            event.listen(Pool, name, listener)


def unlisten() -> None:
    """Stand nowhere any more, but where somebody else stands before us."""
    let_go()
    for each in [*_replaced]:
        if each.owner.__dict__.get(each.name) is each.ours:
            setattr(each.owner, each.name, each.original)
            _replaced.remove(each)


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


def _stand(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    if any(each.owner is owner and each.name == name for each in _replaced):
        return
    original = owner.__dict__[name]
    ours = make(original)
    _replaced.append(_Replaced(owner, name, original, ours))
    setattr(owner, name, ours)


def _invalidate(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def invalidate(record: Any, e: BaseException | None = None, soft: bool = False) -> None:
        unusable(record, e, soft)
        original(record, e, soft)

    return invalidate


def _detach(original: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(original)
    def detach(proxied: Any) -> None:
        leaving(proxied._connection_record)
        original(proxied)

    return detach


_LISTENERS: Final[dict[str, Callable[..., None]]] = {
    "checkin": checked_in,
    "close": closed,
    "detach": lambda _connection, record: leaving(record),
    "invalidate": lambda _connection, record, error: unusable(record, error, False),
    "soft_invalidate": lambda _connection, record, error: unusable(record, error, True),
}
"""What a SQLAlchemy without those methods is told by. It stays, and does nothing then."""
