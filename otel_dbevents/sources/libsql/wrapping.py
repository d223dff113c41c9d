"""The methods of ``libsql_client``'s classes, wrapped while anybody listens, and given back.

The sync client makes its calls of an async one in the application's thread and runs them in
another: so the caller's context is taken when a method is called, and the times are taken where it
runs. A client reads a result to its end before it returns it: there is nothing left to be fetched.

This is imported when that package is, not before.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from importlib import import_module
from time import time_ns
from typing import Any, TypeAlias

from opentelemetry import context as otel_context

from otel_dbevents.sources.caller import suppressed
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.libsql import KEY, PACKAGE
from otel_dbevents.sources.libsql.calls import Call, ClientWatch
from otel_dbevents.sources.libsql.transaction import Transaction

FindWatch: TypeAlias = Callable[[Any], ClientWatch | None]
"""Returns the watch of a client that is used, if anybody wants it."""
_Method: TypeAlias = Callable[..., Any]


class Wrapping:
    """Has the package's classes tell what their clients do, to the watch that ``find`` returns."""

    def __init__(self, find: FindWatch) -> None:
        self._find = find
        self._wrapped: list[tuple[type, str, _Method, _Method]] = []
        """The methods as they were and as we made them, while anybody listens."""

    def put_on(self) -> None:
        """Wrap them. Twice is harmless."""
        if self._wrapped:
            return
        for module, name, methods in _CLASSES:
            kind = getattr(import_module(f"{PACKAGE}.{module}"), name)
            for method, wrap in methods.items():
                original = kind.__dict__[method]
                ours = wrap(original, self._find)
                setattr(kind, method, ours)
                self._wrapped.append((kind, method, original, ours))

    def take_off(self) -> None:
        """Give them back; one that somebody wrapped in turn stays, and only passes on."""
        for kind, method, original, ours in self._wrapped:
            if kind.__dict__.get(method) is ours:
                setattr(kind, method, original)
        self._wrapped.clear()


def _call(find: FindWatch, client: Any, statements: list[Any]) -> Call | None:
    """Return what is to be told of this call; None when nobody wants it. Never raises."""
    try:
        caller = otel_context.get_current()
        watch = find(client)
        if watch is None or suppressed(caller):
            return None
        return Call(watch, caller, statements)
    except Exception as error:  # noqa: BLE001 - the application must not see it
        guard.caught(error)
        return None


def _client_execute(original: _Method, find: FindWatch) -> _Method:
    @wraps(original)
    def execute(self: Any, stmt: Any, args: Any = None) -> Coroutine[Any, Any, Any]:
        call = _call(find, self, [stmt])
        return original(self, stmt, args) if call is None else call.run(original, self, stmt, args)

    return execute


def _client_batch(original: _Method, find: FindWatch) -> _Method:
    @wraps(original)
    def batch(self: Any, stmts: Any) -> Coroutine[Any, Any, Any]:
        call = _call(find, self, list(stmts)) if isinstance(stmts, list | tuple) and stmts else None
        return original(self, stmts) if call is None else call.run_batch(original, self, stmts)

    return batch


def _client_transaction(original: _Method, find: FindWatch) -> _Method:
    @wraps(original)
    def transaction(self: Any) -> Any:
        call, start = _call(find, self, []), time_ns()
        try:
            made = original(self)
        except Exception as error:
            if call is not None:
                call.not_begun(error, start)
            raise
        if call is not None:
            made.__dict__[KEY] = Transaction(call.watch, call.caller)
        return made

    return transaction


def _client_close(original: _Method, find: FindWatch) -> _Method:
    @wraps(original)
    def close(self: Any) -> Coroutine[Any, Any, None]:
        call = _call(find, self, [])
        return original(self) if call is None else call.run_close(original, self)

    return close


def _transaction_execute(original: _Method, _: FindWatch) -> _Method:
    @wraps(original)
    def execute(self: Any, stmt: Any, args: Any = None) -> Coroutine[Any, Any, Any]:
        state: Transaction | None = self.__dict__.get(KEY)
        call = None if state is None else state.call([stmt])
        return original(self, stmt, args) if call is None else call.run(original, self, stmt, args)

    return execute


def _transaction_end(original: _Method, _: FindWatch) -> _Method:
    """Wrap ``commit`` or ``rollback``: `Transaction` has a method of the same name."""

    @wraps(original)
    def end(self: Any) -> Coroutine[Any, Any, None]:
        state: Transaction | None = self.__dict__.get(KEY)
        if state is None or not state.is_open(self):
            return original(self)  # type: ignore[no-any-return]
        told = state.commit if original.__name__ == "commit" else state.rollback
        return told(original, self, otel_context.get_current())

    return end


def _transaction_close(original: _Method, _: FindWatch) -> _Method:
    @wraps(original)
    def close(self: Any) -> None:
        state: Transaction | None = self.__dict__.get(KEY)
        was_open = state is not None and state.is_open(self)
        original(self)
        if state is not None and was_open:
            state.closed()

    return close


_CLIENT: dict[str, Callable[[_Method, FindWatch], _Method]] = {
    "execute": _client_execute,
    "batch": _client_batch,
    "transaction": _client_transaction,
    "close": _client_close,
}
_TRANSACTION: dict[str, Callable[[_Method, FindWatch], _Method]] = {
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
