"""The package ``libsql_client``: its clients of files, HTTP and WebSockets, sync and async.

Their classes' methods are wrapped while anybody listens, and given back afterwards; the package is
not imported for it. The sync client makes its calls of an async one in the application's thread and
runs them in another: so the caller's context is taken when a method is called, and the times are
taken where it runs.

A client reads a result to its end before it returns it: there is nothing left to be fetched.
"""

import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from importlib import import_module
from time import time_ns
from typing import Any, TypeAlias

from opentelemetry import context as otel_context

from otel_dbevents.events import Database, Environment
from otel_dbevents.forks import hold
from otel_dbevents.sources.caller import suppressed
from otel_dbevents.sources.database import database_at
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import FindLedger, Publish, no_ledger
from otel_dbevents.sources.libsql.arrival import Arrival
from otel_dbevents.sources.libsql.calls import Call, ClientWatch
from otel_dbevents.sources.libsql.transaction import Transaction
from otel_dbevents.sources.watch import Notice

AnyClient: TypeAlias = Any
"""A ``Client`` of the package, or a ``ClientSync``, whose client is meant."""
_Method: TypeAlias = Callable[..., Any]

_PACKAGE = "libsql_client"
_KEY = "_otel_dbevents"
"""Where a client keeps its watch, and a transaction its state."""

_lock = threading.RLock()
hold(lambda: (_lock,))
_sources: tuple["ClientSource", ...] = ()
"""Who listens now. A client belongs to the first that wants it."""


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
        self._watches: weakref.WeakSet[ClientWatch] = weakref.WeakSet()
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
                watch = chosen.__dict__.get(_KEY)
                if watch in self._watches:
                    self._release(watch)
                return
            self._every = False
            for watch in list(self._watches):
                self._release(watch)
            _sources = tuple(source for source in _sources if source is not self)
            if not _sources:
                _arrival.forget()
                _unwrap()

    def in_use(self) -> Iterator[Any]:
        """Give each client under watch that has asked its database for something."""
        for watch in list(self._watches):
            client = watch.engine()
            if client is not None and (watch.opened_ns or watch.failures):
                yield client

    def _adopt(self, client: Any) -> ClientWatch:
        with _lock:
            known: ClientWatch | None = client.__dict__.get(_KEY)
            if known is not None and known.active:
                return known
            database = database_of_client(client, self._environment)
            watch = ClientWatch(client, database, self._publish, self._notice, self._ledger)
            client.__dict__[_KEY] = watch
            self._watches.add(watch)
            return watch

    def _release(self, watch: ClientWatch) -> None:
        watch.active = False
        self._watches.discard(watch)

    @staticmethod
    def seen(client: Any) -> ClientWatch | None:
        """Return the watch of a client that is used, if anybody wants it."""
        watch: ClientWatch | None = client.__dict__.get(_KEY)
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
        kind.__module__.partition(".")[0] == _PACKAGE and kind.__name__ in ("Client", "ClientSync")
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


def _call(client: Any, statements: list[Any]) -> Call | None:
    """Return what is to be told of this call; None when nobody wants it. Never raises."""
    try:
        caller = otel_context.get_current()
        watch = ClientSource.seen(client) if _sources else None
        if watch is None or suppressed(caller):
            return None
        return Call(watch, caller, statements)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)
        return None


def _client_execute(original: _Method) -> _Method:
    @wraps(original)
    def execute(self: Any, stmt: Any, args: Any = None) -> Coroutine[Any, Any, Any]:
        call = _call(self, [stmt])
        return original(self, stmt, args) if call is None else call.run(original, self, stmt, args)

    return execute


def _client_batch(original: _Method) -> _Method:
    @wraps(original)
    def batch(self: Any, stmts: Any) -> Coroutine[Any, Any, Any]:
        call = _call(self, list(stmts)) if isinstance(stmts, list | tuple) and stmts else None
        return original(self, stmts) if call is None else call.run_batch(original, self, stmts)

    return batch


def _client_transaction(original: _Method) -> _Method:
    @wraps(original)
    def transaction(self: Any) -> Any:
        call, start = _call(self, []), time_ns()
        try:
            made = original(self)
        except Exception as error:
            if call is not None:
                call.not_begun(error, start)
            raise
        if call is not None:
            made.__dict__[_KEY] = Transaction(call.watch, call.caller)
        return made

    return transaction


def _client_close(original: _Method) -> _Method:
    @wraps(original)
    def close(self: Any) -> Coroutine[Any, Any, None]:
        call = _call(self, [])
        return original(self) if call is None else call.run_close(original, self)

    return close


def _transaction_execute(original: _Method) -> _Method:
    @wraps(original)
    def execute(self: Any, stmt: Any, args: Any = None) -> Coroutine[Any, Any, Any]:
        state: Transaction | None = self.__dict__.get(_KEY)
        call = None if state is None else state.call([stmt])
        return original(self, stmt, args) if call is None else call.run(original, self, stmt, args)

    return execute


def _transaction_end(original: _Method) -> _Method:
    """Wrap ``commit`` or ``rollback``: `Transaction` has a method of the same name."""

    @wraps(original)
    def end(self: Any) -> Coroutine[Any, Any, None]:
        state: Transaction | None = self.__dict__.get(_KEY)
        if state is None or not state.is_open(self):
            return original(self)  # type: ignore[no-any-return]
        told = state.commit if original.__name__ == "commit" else state.rollback
        return told(original, self, otel_context.get_current())

    return end


def _transaction_close(original: _Method) -> _Method:
    @wraps(original)
    def close(self: Any) -> None:
        state: Transaction | None = self.__dict__.get(_KEY)
        was_open = state is not None and state.is_open(self)
        original(self)
        if state is not None and was_open:
            state.closed()

    return close


_CLIENT: dict[str, Callable[[_Method], _Method]] = {
    "execute": _client_execute,
    "batch": _client_batch,
    "transaction": _client_transaction,
    "close": _client_close,
}
_TRANSACTION: dict[str, Callable[[_Method], _Method]] = {
    "execute": _transaction_execute,
    "commit": _transaction_end,
    "rollback": _transaction_end,
    "close": _transaction_close,
}
_CLASSES = (
    ("sqlite3_utils", "Sqlite3Client", _CLIENT),
    ("http", "HttpClient", _CLIENT),
    ("hrana.client", "HranaClient", _CLIENT),
    ("sqlite3_utils", "Sqlite3Transaction", _TRANSACTION),
    ("hrana.client", "HranaTransaction", _TRANSACTION),
)
"""Module, class, and what is wrapped in it."""

_wrapped: list[tuple[type, str, _Method, _Method]] = []
"""The methods as they were and as we made them, while anybody listens."""


def _wrap() -> None:
    with _lock:
        if _wrapped or not _sources:
            return
        for module, name, methods in _CLASSES:
            kind = getattr(import_module(f"{_PACKAGE}.{module}"), name)
            for method, wrap in methods.items():
                original = kind.__dict__[method]
                ours = wrap(original)
                setattr(kind, method, ours)
                _wrapped.append((kind, method, original, ours))


def _unwrap() -> None:
    """Give the methods back; one that somebody wrapped in turn stays, and only passes on."""
    for kind, method, original, ours in _wrapped:
        if kind.__dict__.get(method) is ours:
            setattr(kind, method, original)
    _wrapped.clear()


_arrival = Arrival(_PACKAGE, _wrap)
