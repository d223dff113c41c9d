"""Engines: every one, made before or after, sync or async, or only those that were named.

`EngineSource` puts engines under watch and lets go of them: by the dialect that an engine has, at
the places that `otel_dbevents.sources.seams` lists.
"""

import atexit
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sqlalchemy.engine import Engine

from otel_dbevents.events import Database, Environment, PoolReading
from otel_dbevents.forks import hold, in_child
from otel_dbevents.living import Living
from otel_dbevents.sources.around import Around, Wishes
from otel_dbevents.sources.choosing import Choice, EngineFilter
from otel_dbevents.sources.connection import adopt, begin_anew, forget_readings, look_anew
from otel_dbevents.sources.database import database_of
from otel_dbevents.sources.finding import AnyEngine, find_all, sync_engine, was_used, watch_of
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import Defer, FindLedger, Publish, no_ledger
from otel_dbevents.sources.pool.checkin import CAN_FOLLOW, followed
from otel_dbevents.sources.pool.places import pool_of, read_engine
from otel_dbevents.sources.retiring import retire
from otel_dbevents.sources.seams import listen, unlisten, unwrap, wrap
from otel_dbevents.sources.watch import WATCH_KEY, Notice, Watch

if TYPE_CHECKING:
    from otel_dbevents.sources.explain.explainer import Explainer

_lock = threading.RLock()
hold(lambda: (_lock,))
_LONGEST_S: Final = 0.2
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
        self._choice = Choice(wants)
        self._explainer = explainer
        self._every = False
        self._watches: Living[Watch] = Living()
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
                listen(_seen)
            self._every = self._every or chosen is None
            self._choice.take(chosen)
        engines, records = find_all() if chosen is None or was_used(chosen) else ([], [])
        # The filter is the application's: it is asked while no lock is held.
        asked = engines if chosen is None else [chosen]
        wanted = [each for each in asked if self._choice.is_wanted(each)]
        with _lock:
            if self not in _sources:  # detached meanwhile
                return
            for found in wanted:
                self._adopt(found)
            for record in records:
                of = pool_of(record)
                watch = of._dialect.__dict__.get(WATCH_KEY)
                if watch is not None and watch in self._watches:
                    adopt(watch, record)
                    if CAN_FOLLOW and "_return_conn" not in of.__dict__:
                        followed(of)

    def detach(self, engine: AnyEngine | None = None) -> None:
        """Listen no longer to ``engine``, until it is attached again, or to any.

        Twice is harmless. Raises `TypeError` when ``engine`` is not an engine.
        """
        global _sources
        with _lock:
            if engine is not None:
                chosen = sync_engine(engine)
                self._choice.leave(chosen)
                watch = watch_of(chosen)
                if watch is not None and watch in self._watches:
                    self._release(watch)
                return
            self._every = False
            for watch in self._watches.all():
                self._release(watch)
            _sources = tuple(source for source in _sources if source is not self)
            if not _sources:
                unlisten()

    def pools(self) -> Iterator[PoolReading]:
        """Read the pool of each engine under watch."""
        for watch in self._watches.all():
            reading = read_engine(watch)
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
            if engine is not None and (watch.is_failing or was_used(engine)):
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
                unwrap(dialect, known)
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
            watch.surround(Around(self._wishes, dialect.paramstyle, dialect.driver))
            watch.explainer = self._explainer
            wrap(dialect, watch)
            self._watches.add(watch)
            return watch

    def _begin_anew(self) -> None:
        """Forget the parent's connections, in a forked child, and who asks there."""
        self._choice.begin_anew()
        for watch in self._watches.all():
            begin_anew(watch)

    def step_aside(self) -> None:
        """Stand in no engine's way any more, and tell of no result that is open.

        The engines stay under watch: their pools can be read.
        """
        for watch in self._watches.all():
            engine = watch.engine()
            if engine is not None:
                unwrap(engine.dialect, watch)
            forget_readings(watch)

    def _release(self, watch: Watch) -> None:
        watch.active = False
        self._watches.discard(watch)
        engine = watch.engine()
        if engine is not None:
            unwrap(engine.dialect, watch)

    def seen(self, engine: Engine) -> Watch | None:
        """Put an engine under watch that nobody named, if every one is wanted and this one is."""
        return self._adopt(engine) if self._every and self._choice.is_wanted(engine) else None


def _seen(engine: Engine) -> Watch | None:
    """Return the watch of an engine that opens or gives a connection, if anybody wants it."""
    watch = watch_of(engine)
    if watch is not None:
        return watch
    return next(filter(None, (source.seen(engine) for source in _sources)), None)


def _step_aside() -> None:
    """Leave SQLAlchemy as it was, at the end of the process, after what drains.

    What still uses a database when the interpreter takes its modules apart finds none of ours in
    its way: their names hold nothing then.
    """
    if not _lock.acquire(timeout=_LONGEST_S):
        return
    try:
        for source in _sources:
            source.step_aside()
        if _sources:
            unlisten()
    except Exception as error:  # noqa: BLE001 - the process ends all the same
        guard.caught(error)
    finally:
        _lock.release()


# When this is imported, so that it is called after all that a pipeline registers.
atexit.register(_step_aside)
