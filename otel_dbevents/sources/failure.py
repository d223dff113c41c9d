"""What a driver's exception says that may leave the process: types and codes, never its message."""

import errno
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from otel_dbevents.events import Failure, redact
from otel_dbevents.sources.libsql import codes as libsql_codes
from otel_dbevents.swallowing import told

_PHRASES = {
    "connection refused": "connection refused",
    "could not translate host name": "host name not found",
    "name or service not known": "host name not found",
    "nodename nor servname": "host name not found",
    "authentication failed": "authentication failed",
    "unauthorized": "authentication failed",
    "http status 401": "authentication failed",
    "access denied": "authentication failed",
    "timeout expired": "timed out",
    "timed out": "timed out",
    "too many connections": "too many connections",
    "too many clients": "too many connections",
    "server closed the connection": "server closed the connection",
    "unable to open database file": "unable to open database file",
    "open: notfound": "unable to open database file",
    "file is not a database": "file is not a database",
    "does not exist": "database does not exist",
    "unknown database": "database does not exist",
    "ssl": "TLS negotiation failed",
}
"""Fixed words for what drivers say with a text only. The driver's own text is never passed on."""


_MOST_CAUSES = 8
_NUMBERED = frozenset({"pymysql", "MySQLdb", "aiomysql", "asyncmy", "mysql", "mariadb"})
"""The drivers of MySQL and MariaDB, whose code is the server's error number, not its SQLSTATE."""


def describe(error: BaseException, *, messages: bool = False, disconnect: bool = False) -> Failure:
    """Return what may be told of a driver's exception.

    ``error_type`` is the status code where the driver gave one, else the qualified name of the
    original exception (semantic conventions 1.44, recording errors and database spans).
    ``message`` is filled only when ``messages`` is true, and then without credentials.
    """
    original = _original(error)
    name = _qualified_name(original)
    code = _status_code(error) or _status_code(original)
    return Failure(
        error_type=code or name,
        exception_type=name,
        description=f"{type(original).__qualname__} [{code}]" if code else name,
        status_code=code,
        is_disconnect=disconnect,
        message=redact(str(error)) if messages else "",
    )


def is_lost(dialect: Any, error: BaseException, connection: Any, cursor: Any = None) -> bool:
    """Whether the dialect takes an error for the loss of the connection. Never raises.

    ``connection`` is the pool's or the driver's, or SQLAlchemy's `Connection`. Only an error of the
    driver's own is shown to the dialect, as SQLAlchemy does; of a wrapped one SQLAlchemy knows.
    """
    try:
        if isinstance(error, DBAPIError):
            return bool(error.connection_invalidated)
        if not isinstance(error, dialect.loaded_dbapi.Error):
            return False
        if isinstance(connection, Connection):
            connection = connection.connection
        return bool(dialect.is_disconnect(error, connection, cursor))
    except Exception as own:  # noqa: BLE001 - a dialect that fails at it knows of no loss
        told("is_disconnect", own)
        return False


def describe_connect(error: BaseException) -> str:
    """Return why a connection could not be made, in fixed words."""
    name = type(_original(error)).__qualname__
    code = _status_code(error) or _status_code(_original(error))
    reason = _system_reason(error) or _phrase(error)
    told = f"{name}: {reason}" if reason else name
    return f"{told} [{code}]" if code else told


def exception_name(error: BaseException) -> str:
    """Return the qualified name of the driver's exception: what `Failure.exception_type` is."""
    return _qualified_name(_original(error))


def _original(error: BaseException) -> BaseException:
    """Return the driver's exception behind SQLAlchemy's adapter or wrapper of it."""
    for _ in range(_MOST_CAUSES):  # an application may have made a ring of them
        if error.__cause__ is None or not type(error).__module__.startswith("sqlalchemy."):
            break
        error = error.__cause__
    return error


def _qualified_name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _status_code(error: Any) -> str:
    """Return the driver's most specific code: SQLSTATE, SQLite's result code, MySQL's number."""
    if type(error).__module__.partition(".")[0] in _NUMBERED:
        number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
        return str(number) if isinstance(number, int) and number else ""
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, name, None)
        if isinstance(code, str) and code:
            return code
    if type(error).__module__.startswith("libsql_client"):
        code = getattr(error, "code", "")
        return code if isinstance(code, str) else ""
    return libsql_codes.code_of(error)


def _system_reason(error: BaseException) -> str:
    """Return the operating system's reason, where one stands behind the exception."""
    seen: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if seen is None:
            break
        if isinstance(seen, TimeoutError):
            return "timed out"
        if isinstance(seen, OSError) and seen.errno is not None:
            return errno.errorcode.get(seen.errno, "")
        seen = seen.__cause__ or seen.__context__
    return ""


def _phrase(error: BaseException) -> str:
    text = str(error).lower()
    return next((told for said, told in _PHRASES.items() if said in text), "")
