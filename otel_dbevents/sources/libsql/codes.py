"""libSQL's result codes, and what its errors mean.

Its driver raises a plain `ValueError`, whose text alone has the code; its client says it.

Only a code comes out of here, from a fixed place in the text or from SQLite's own fixed words:
never a part of the message, which holds the application's values.
"""

import re
from functools import cache

_HRANA = re.compile(r'^Hrana: .*, code: "([A-Z][A-Z0-9_]{2,40})" \}`+$', re.DOTALL)
"""A server's answer over HTTP: the code stands behind the message."""

_HTTP = re.compile(r"^Hrana: `api error: `status=(\d{3}) ")
"""A server that did not take the request: HTTP's status."""

_NUMBERED = re.compile(
    r"^(?:Remote SQlite failure: `\d+:(\d{1,5}):"
    r"|Failed to connect to database: `Unable to open connection to local database .*: (\d+)`$)",
    re.DOTALL,
)
"""A primary's answer to an embedded replica, or a file that cannot be opened: SQLite's number."""

_SQLITE = re.compile(
    r'^(?:Write delegation: `status: \w+, message: ")?(?:SQLite (?:input )?error: )?'
    r"(UNIQUE constraint failed|FOREIGN KEY constraint failed|NOT NULL constraint failed"
    r"|CHECK constraint failed|no such (?:column|table)|near \"|syntax error"
    r"|database is locked|database table is locked|attempt to write a readonly database)"
)
_GRPC = re.compile(r"^Write delegation: `status: ([A-Z][A-Za-z]{1,30}),")

_WORDS = {
    "UNIQUE constraint failed": "SQLITE_CONSTRAINT_UNIQUE",
    "FOREIGN KEY constraint failed": "SQLITE_CONSTRAINT_FOREIGNKEY",
    "NOT NULL constraint failed": "SQLITE_CONSTRAINT_NOTNULL",
    "CHECK constraint failed": "SQLITE_CONSTRAINT_CHECK",
    "database is locked": "SQLITE_BUSY",
    "database table is locked": "SQLITE_LOCKED",
    "attempt to write a readonly database": "SQLITE_READONLY",
}
"""What SQLite itself says for these codes; for what is wrong in a statement it is SQLITE_ERROR."""


def code_of(error: BaseException) -> str:
    """Return the code in the text of a libSQL error; empty where it has none that we know."""
    if type(error) is not ValueError:
        return ""
    text = str(error)
    if found := _HRANA.match(text) or _HTTP.match(text):
        return found[1]
    if found := _NUMBERED.match(text):
        return _name(int(found[1] or found[2]))
    if found := _SQLITE.match(text):
        return _WORDS.get(found[1], "SQLITE_ERROR")
    found = _GRPC.match(text)
    return found[1] if found else ""


def _name(number: int) -> str:
    """Return SQLite's name of a result code, or of its lowest byte where the whole has none."""
    import sqlite3

    primary = _primary().get(number & 0xFF, "")
    if not primary or number == number & 0xFF:
        return primary
    names = (name for name in dir(sqlite3) if name.startswith(f"{primary}_"))
    return next((name for name in names if getattr(sqlite3, name) == number), primary)


@cache
def _primary() -> dict[int, str]:
    """Return the names of the lowest bytes. Not before there is an error: few need sqlite3."""
    import sqlite3

    names = (
        *("ERROR", "INTERNAL", "PERM", "ABORT", "BUSY", "LOCKED", "NOMEM", "READONLY"),
        *("INTERRUPT", "IOERR", "CORRUPT", "NOTFOUND", "FULL", "CANTOPEN", "PROTOCOL"),
        *("SCHEMA", "TOOBIG", "CONSTRAINT", "MISMATCH", "MISUSE", "AUTH", "RANGE", "NOTADB"),
    )
    return {getattr(sqlite3, f"SQLITE_{name}"): f"SQLITE_{name}" for name in names}


def is_answer(error: BaseException) -> bool:
    """Whether the database itself refused: then a batch was rolled back."""
    return str(getattr(error, "code", "")).startswith(("SQLITE_", "SQL_"))


def is_unreached(error: BaseException) -> bool:
    """Whether no connection was had: nobody listens, no such file, or no leave to enter."""
    code = str(getattr(error, "code", ""))
    if code.startswith("AUTH_") or (code == "SERVER_ERROR" and "HTTP status 401" in str(error)):
        return True
    if "SQLITE_CANTOPEN" in (getattr(error, "code", ""), getattr(error, "sqlite_errorname", "")):
        return True
    kind = type(error)
    is_http = kind.__module__.startswith("aiohttp.")
    return is_http and kind.__name__.startswith(("ClientConnector", "WSServerHandshakeError"))


def is_lost(error: BaseException) -> bool:
    """Whether the connection went with the call."""
    if getattr(error, "code", "") == "HRANA_WEBSOCKET_ERROR" or isinstance(error, ConnectionError):
        return True
    return any(kind.__name__ == "ClientConnectionError" for kind in type(error).__mro__)
