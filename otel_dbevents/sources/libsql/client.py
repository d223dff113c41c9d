"""The package ``libsql_client``: its clients of files, HTTP and WebSockets, sync and async.

Their classes' methods are wrapped while anybody listens (`wrapping`). The package is not imported
for it, nor what makes the events of it before it is there.
"""

import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from otel_dbevents.events import Database, Environment
from otel_dbevents.forks import hold
from otel_dbevents.living import Living
from otel_dbevents.sources.database import database_at
from otel_dbevents.sources.handing import FindLedger, Publish, no_ledger
from otel_dbevents.sources.libsql import KEY, PACKAGE
from otel_dbevents.sources.libsql.arrival import Arrival
from otel_dbevents.sources.watch import Notice

if TYPE_CHECKING:
    from otel_dbevents.sources.libsql.calls import ClientWatch
    from otel_dbevents.sources.libsql.wrapping import Wrapping

AnyClient: TypeAlias = Any
"""A ``Client`` of the package, or a ``ClientSync``, whose client is meant."""

_lock = threading.RLock()
hold(lambda: (_lock,))
_sources: tuple["ClientSource", ...] = ()
"""Who listens now. A client belongs to the first that wants it."""
_wrapping: "Wrapping | None" = None
"""There from when the package is."""


class ClientSource:
    """Listens to clients and publishes what they do, as `EngineSource` does for engines."""

    def __init__(
        self,
        publish: Publish,
        *,
        environment: Environment = Environment.LOCAL,
        notice: Notice = Notice(),  # noqa: B008 - it is immutable
        ledger: FindLedger = no_ledger,
    ) -> None:
        self._publish = publish
        self._environment = environment
        self._notice = notice
        self._ledger = ledger
        self._every = False
        self._watches: Living[ClientWatch] = Living()
        self._left: weakref.WeakSet[Any] = weakref.WeakSet()

    def attach(self, client: AnyClient | None = None) -> None:
        """Listen to ``client``, or to every client there is and will be. Twice is harmless.

        Raises `TypeError` when ``client`` is none of the package's clients.
        """
        global _sources
        chosen = None if client is None else async_client(client)
        with _lock:
            if self not in _sources:
                _sources = (*_sources, self)
                _arrival.expect()
            if chosen is not None:
                self._left.discard(chosen)
                self._adopt(chosen)
                return
            self._every = True
            self._left.clear()

    def detach(self, client: AnyClient | None = None) -> None:
        """Listen no longer to ``client``, until it is attached again, or to any."""
        global _sources
        with _lock:
            if client is not None:
                chosen = async_client(client)
                self._left.add(chosen)
                watch = chosen.__dict__.get(KEY)
                if watch in self._watches:
                    self._release(watch)
                return
            self._every = False
            for watch in self._watches.all():
                self._release(watch)
            _sources = tuple(source for source in _sources if source is not self)
            if not _sources:
                _arrival.forget()
                if _wrapping is not None:
                    _wrapping.take_off()

    def in_use(self) -> Iterator[Any]:
        """Give each client under watch that has asked its database for something."""
        for watch in self._watches.all():
            client = watch.engine()
            if client is not None and (watch.opened_ns or watch.is_failing):
                yield client

    def _adopt(self, client: Any) -> "ClientWatch":
        from otel_dbevents.sources.libsql.calls import ClientWatch

        with _lock:
            known: ClientWatch | None = client.__dict__.get(KEY)
            if known is not None and known.active:
                return known
            database = database_of_client(client, self._environment)
            watch = ClientWatch(client, database, self._publish, self._notice, self._ledger)
            client.__dict__[KEY] = watch
            self._watches.add(watch)
            return watch

    def _release(self, watch: "ClientWatch") -> None:
        watch.active = False
        self._watches.discard(watch)

    @staticmethod
    def seen(client: Any) -> "ClientWatch | None":
        """Return the watch of a client that is used, if anybody wants it."""
        watch: ClientWatch | None = client.__dict__.get(KEY)
        if watch is not None and watch.active:
            return watch
        for source in _sources:
            if source._every and client not in source._left:
                return source._adopt(client)
        return None


def database_of_client(client: Any, environment: Environment) -> Database:
    """Return what an async client's address says."""
    path, url = getattr(client, "_path", ""), getattr(client, "_url", "")
    return database_at(environment, path=path, url=url)


def is_client(thing: object) -> bool:
    """Whether this is one of the package's clients; asked without importing the package."""
    return any(
        kind.__module__.partition(".")[0] == PACKAGE and kind.__name__ in ("Client", "ClientSync")
        for kind in type(thing).__mro__
    )


def async_client(client: AnyClient) -> Any:
    """Return the async client that is meant. Raises `TypeError` when it is none."""
    if not is_client(client):
        raise TypeError(
            f"a client of libsql_client is needed, got {type(client).__name__}: "
            "pass what create_client() or create_client_sync() returned"
        )
    return client._client if type(client).__name__ == "ClientSync" else client


def _wrap() -> None:
    """Wrap the methods of the package that is there now, in the thread that imports it."""
    global _wrapping
    from otel_dbevents.sources.libsql.wrapping import Wrapping

    with _lock:
        if _wrapping is None:
            _wrapping = Wrapping(ClientSource.seen)
        if _sources:
            _wrapping.put_on()


_arrival = Arrival(PACKAGE, _wrap)
