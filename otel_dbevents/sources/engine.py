"""Engines: every one, made before or after, sync or async, or only those that were named.

Two seams, both taken away again by `EngineSource.detach`:

- `Engine.raw_connection`, on the class: each checkout of each engine goes through it. It is where
  an engine is first seen.
- the methods of the engine's dialect that call the driver, on the dialect's instance: the only
  place that tells the driver's own outcome, and cheaper than SQLAlchemy's events.

What the pool does beside that (check-in, invalidation, close) comes from SQLAlchemy's pool events.
"""

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import wraps
from time import time_ns
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

from otel_dbevents.compat import has_gil
from otel_dbevents.events import Database, Environment, PoolReading
from otel_dbevents.forks import hold, in_child
from otel_dbevents.living import Living
from otel_dbevents.sources import pool
from otel_dbevents.sources.around import Around, Wishes
from otel_dbevents.sources.connection import (
    INFO_KEY,
    ConnectionState,
    begin_anew,
    look_anew,
)
from otel_dbevents.sources.database import database_of
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import Defer, FindLedger, Publish, no_ledger
from otel_dbevents.sources.heap import objects_of
from otel_dbevents.sources.query import QuerySource
from otel_dbevents.sources.retiring import retire
from otel_dbevents.sources.transaction import TransactionSource
from otel_dbevents.sources.watch import WATCH_KEY, Notice, Watch

if TYPE_CHECKING:
    from otel_dbevents.sources.explain.explainer import Explainer

AnyEngine: TypeAlias = Any
"""An `Engine`, or an `AsyncEngine`, whose ``sync_engine`` is meant."""

EngineFilter: TypeAlias = Callable[[Engine], bool]
"""Whether an engine is observed. Asked once for each, about an `AsyncEngine` by its sync engine."""

_lock = threading.RLock()
hold(lambda: (_lock,))
_OURS = "otel-dbevents-"
"""What the names of our own threads begin with."""
_PATIENCE_S = 0.2
"""How long a thread waits for what the filter says to another."""
_DISPATCH = event.attr.__file__
"""The file whose code calls SQLAlchemy's listeners."""
_sources: tuple["EngineSource", ...] = ()
"""Who listens now. An engine belongs to the first that wants it."""


class EngineSource:
    """Listens to engines and publishes what they do.

    Args:
        publish: takes each event with the OpenTelemetry context of the call it tells of.
        environment: where the application runs.
        notice: from when on a query is told with its place in the application.
        wishes: what is done around each call of the driver.
        wants: an engine for which it returns False is not observed, named or not. Where it raises,
            the engine is observed. It may use the engine, unobserved.
        explainer: asks for the plans of slow queries; None: nobody does.
        from_finalizer: takes what is found out where the garbage collector runs, which may be in
            anybody's locked region; None: ``publish`` takes it.
        defer: takes what the most frequent events will be made of; None: they are made at once,
            and ``publish`` takes them.
        ledger: finds where the events of an OpenTelemetry context are entered before they are
            published, if anywhere.

    """

    def __init__(
        self,
        publish: Publish,
        *,
        from_finalizer: Publish | None = None,
        defer: Defer | None = None,
        ledger: FindLedger = no_ledger,
        environment: Environment = Environment.LOCAL,
        notice: Notice = Notice(),  # noqa: B008 - it is immutable
        wishes: Wishes = Wishes(),  # noqa: B008
        wants: EngineFilter | None = None,
        explainer: "Explainer | None" = None,
    ) -> None:
        self._publish = publish
        self._from_finalizer = from_finalizer
        self._defer = defer
        self._ledger = ledger
        self._environment = environment
        self._notice = notice
        self._wishes = wishes
        self._wants = wants
        self._explainer = explainer
        self._every = False
        self._watches: Living[Watch] = Living()
        self._verdicts: weakref.WeakKeyDictionary[Dialect, bool] = weakref.WeakKeyDictionary()
        """What the filter said, by the dialect, which an engine and its option engines share."""
        self._asking: dict[int, _Asking] = {}
        """Who asks it now, by the dialect's identity."""
        self._left: weakref.WeakSet[Dialect] = weakref.WeakSet()
        """The dialects of engines that were let go of one by one."""
        in_child(self._begin_anew)

    def attach(self, engine: AnyEngine | None = None) -> None:
        """Listen to ``engine``, or to every engine there is and will be. Twice is harmless.

        Raises `TypeError` when ``engine`` is not an engine.
        """
        global _sources
        chosen = None if engine is None else sync_engine(engine)
        with _lock:
            if self not in _sources:
                _sources = (*_sources, self)
                _listen()
            if chosen is None:
                self._every = True
                self._left.clear()
            else:
                self._left.discard(chosen.dialect)
        engines, records = _found() if chosen is None or _was_used(chosen) else ([], [])
        # The filter is the application's: it is asked while no lock is held.
        asked = engines if chosen is None else [chosen]
        wanted = [each for each in asked if self._is_wanted(each)]
        with _lock:
            if self not in _sources:  # detached meanwhile
                return
            for found in wanted:
                self._adopt(found)
            for record in records:
                of = pool.pool_of(record)
                watch = of._dialect.__dict__.get(WATCH_KEY)
                if watch is not None and watch in self._watches:
                    pool.adopt(watch, record)
                    if pool.CAN_FOLLOW and "_return_conn" not in of.__dict__:
                        pool.followed(of)

    def detach(self, engine: AnyEngine | None = None) -> None:
        """Listen no longer to ``engine``, until it is attached again, or to any.

        Twice is harmless. Raises `TypeError` when ``engine`` is not an engine.
        """
        global _sources
        with _lock:
            if engine is not None:
                chosen = sync_engine(engine)
                self._left.add(chosen.dialect)
                watch = watch_of(chosen)
                if watch is not None and watch in self._watches:
                    self._release(watch)
                return
            self._every = False
            for watch in self._watches.all():
                self._release(watch)
            _sources = tuple(source for source in _sources if source is not self)
            if not _sources:
                _unlisten()

    def pools(self) -> Iterator[PoolReading]:
        """Read the pool of each engine under watch."""
        for watch in self._watches.all():
            reading = pool.read_engine(watch)
            if reading is not None:
                yield reading

    def engines_of(self, database: Database) -> list[Engine]:
        """Return the engines under watch that lead to a database: the very one first."""
        pairs = [(watch.database, watch.engine()) for watch in self._watches.all()]
        name, pool_name = database.aggregate_id, database.pool_name
        pairs.sort(key=lambda pair: pair[0].pool_name != pool_name)
        return [engine for of, engine in pairs if engine is not None and of.aggregate_id == name]

    def retire(self, database: Database, before_s: float) -> None:
        """Have no connection to a database given out again that was opened before a time.

        Of all engines under watch that lead to it; see `sources.retiring`.
        """
        for engine in self.engines_of(database):
            retire(engine, before_s)

    def in_use(self) -> Iterator[Engine]:
        """Give each engine under watch that the application has asked for a connection."""
        for watch in self._watches.all():
            engine = watch.engine()
            if engine is not None and (watch.is_failing or _was_used(engine)):
                yield engine

    def look_anew(self) -> None:
        """Look anew for the ledger of each connection's context. Nothing waits for it."""
        for watch in self._watches.all():
            look_anew(watch)

    def _adopt(self, engine: Engine) -> Watch | None:
        """Put an engine under watch, unless one of the sources has it already."""
        with _lock:
            dialect = engine.dialect
            known: Watch | None = dialect.__dict__.get(WATCH_KEY)
            if known is not None and known.active:
                return known
            if known is not None:
                _unwrap(dialect, known)
            database = database_of(engine, self._environment)
            watch = Watch(
                engine,
                database,
                self._publish,
                self._notice,
                self._from_finalizer,
                self._ledger,
                self._defer,
            )
            watch.surroundings = Around(self._wishes, dialect.paramstyle, dialect.driver)
            watch.explainer = self._explainer
            watch.look_around()
            _wrap(dialect, watch)
            self._watches.add(watch)
            return watch

    def _is_wanted(self, engine: Engine) -> bool:
        """Ask the filter, unless it was asked before or is being asked."""
        dialect = engine.dialect
        if dialect in self._left:
            return False
        if self._wants is None:
            return True
        verdict = self._verdicts.get(dialect)
        if verdict is None:
            mine = _Asking()
            asking = self._asking.setdefault(id(dialect), mine)
            if asking is mine:
                verdict = self._answer(engine, self._wants, mine)
            elif asking.thread != mine.thread:  # else the filter itself uses it
                asking.is_over.wait(_PATIENCE_S)
                verdict = self._verdicts.get(dialect)
        return bool(verdict)

    def _answer(self, engine: Engine, wants: EngineFilter, asking: "_Asking") -> bool:
        dialect = engine.dialect
        try:
            verdict = self._verdicts.get(dialect)  # it may have been asked this moment
            if verdict is None:
                verdict = self._verdicts[dialect] = self._ask(engine, wants)
            return verdict
        finally:
            self._asking.pop(id(dialect), None)
            asking.is_over.set()

    @staticmethod
    def _ask(engine: Engine, wants: EngineFilter) -> bool:
        try:
            wanted = wants(engine)
            if not isinstance(wanted, bool):
                raise TypeError("engine_filter returns True or False")
        except Exception as error:  # noqa: BLE001 - rather an engine too many than one missed
            guard.caught(error)
            return True
        return wanted

    def _begin_anew(self) -> None:
        """Forget the parent's connections, in a forked child, and who asks there."""
        self._asking.clear()
        for watch in self._watches.all():
            begin_anew(watch)

    def _release(self, watch: Watch) -> None:
        watch.active = False
        self._watches.discard(watch)
        engine = watch.engine()
        if engine is not None:
            _unwrap(engine.dialect, watch)

    @staticmethod
    def seen(engine: Engine) -> Watch | None:
        """Return the watch of an engine that opens or gives a connection, if anybody wants it."""
        watch = watch_of(engine)
        if watch is not None:
            return watch
        for source in _sources:
            if source._every and source._is_wanted(engine):
                return source._adopt(engine)
        return None


class _Asking:
    """A thread that asks the filter."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_over = threading.Event()


def sync_engine(engine: AnyEngine) -> Engine:
    """Return the `Engine` that is meant. Raises `TypeError` when it is none."""
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise TypeError(
            f"an Engine or AsyncEngine of SQLAlchemy is needed, got {type(engine).__name__}: "
            "pass what create_engine() or create_async_engine() returned"
        )
    return found


def watch_of(engine: Engine) -> Watch | None:
    """Return the engine's watch, if it is under one."""
    watch: Watch | None = engine.dialect.__dict__.get(WATCH_KEY)
    return watch if watch is not None and watch.active else None


def _was_used(engine: Engine) -> bool:
    """Whether a connection was ever opened: only then SQLAlchemy has asked the server's version."""
    return "server_version_info" in engine.dialect.__dict__


def _found() -> tuple[list[Engine], list[Any]]:
    """Find the engines and open connections that there are: SQLAlchemy keeps no list of them."""
    engines, records = [], []
    for found in objects_of({_ConnectionRecord, *_subclasses(Engine)}):
        if isinstance(found, Engine):
            engines.append(found)
        elif getattr(found, "dbapi_connection", None) is not None:
            records.append(found)
    return engines, records


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)


def _wrap(dialect: Any, watch: Watch) -> None:
    """Put our methods before the dialect's own, on this instance only."""
    methods = QuerySource(watch, dialect).methods | TransactionSource(watch, dialect).methods
    methods |= pool.pinging(watch, dialect)
    watch.methods = methods
    for name, method in methods.items():
        setattr(dialect, name, method)
    dialect.__dict__[WATCH_KEY] = watch


def _unwrap(dialect: Any, watch: Watch) -> None:
    """Take our methods away; one that somebody wrapped in turn stays, and only passes on."""
    if dialect.__dict__.get(WATCH_KEY) is watch:
        del dialect.__dict__[WATCH_KEY]
    for name, method in watch.methods.items():
        if dialect.__dict__.get(name) is method:
            del dialect.__dict__[name]


_RawConnection: TypeAlias = Callable[[Engine], Any]
_installed: tuple[_RawConnection, _RawConnection] | None = None
"""`Engine.raw_connection` as it was and as we made it, while anybody listens."""


def _listen() -> None:
    global _installed
    if _installed is not None:
        return
    original = Engine.raw_connection
    ours = _raw_connection(original)
    Engine.raw_connection = ours  # type: ignore[method-assign, assignment]
    _installed = (original, ours)
    for name, listener in _POOL_LISTENERS.items():
        if not event.contains(Pool, name, listener):
            event.listen(Pool, name, listener)


def _unlisten() -> None:
    global _installed
    pool.let_go()
    if not _is_dispatching():
        for name, listener in _POOL_LISTENERS.items():
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


def _raw_connection(original: _RawConnection) -> _RawConnection:
    @wraps(original)
    def raw_connection(engine: Engine) -> Any:
        watch = pending = None
        try:
            watch = engine.dialect.__dict__.get(WATCH_KEY)
            if watch is None or not watch.active:
                watch = EngineSource.seen(engine) if _sources else None
            if watch is not None:
                engine_pool = engine.pool
                if pool.CAN_FOLLOW and "_return_conn" not in engine_pool.__dict__:
                    pool.followed(engine_pool)
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
            pool.refused(watch, engine_pool, error, start)
            raise
        pool.checked_out(watch, engine_pool, proxied, start)
        return proxied

    return raw_connection


_Tell: TypeAlias = Callable[[Watch, ConnectionState, Any, BaseException | None, Any], None]


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
    pool.invalidated(watch, state, connection, error, soft=True)


_POOL_LISTENERS: dict[str, Callable[..., None]] = {
    **({} if pool.CAN_FOLLOW else {"checkin": pool.checked_in, "close": pool.closed}),
    "detach": _listener(pool.detached),
    "invalidate": _listener(pool.invalidated_for_good),
    "soft_invalidate": _listener(_soft),
}
